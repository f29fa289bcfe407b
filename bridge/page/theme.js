// Before the first paint, so that nothing flashes: the theme chosen here, else the system's.
(() => {
  try {
    const theme = localStorage.getItem("ragline.theme");
    if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
  } catch {
    // Storage may be switched off; the system's theme holds.
  }
})();
