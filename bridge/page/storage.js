// Local and session storage; where the browser allows none, memory that ends with the page.

class Memory {
  getItem(name) {
    return Object.hasOwn(this, name) ? this[name] : null;
  }
  setItem(name, text) {
    this[name] = String(text);
  }
  removeItem(name) {
    delete this[name];
  }
}

function usable(find) {
  try {
    const storage = find();
    storage.setItem("ragline.probe", "");
    storage.removeItem("ragline.probe");
    return storage;
  } catch {
    return new Memory();
  }
}

export const local = usable(() => window.localStorage);
export const session = usable(() => window.sessionStorage);
