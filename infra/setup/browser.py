"""Chromium, in which the page is tested: Debian's package, installed where it is missing."""

import os
import shutil
from collections.abc import Callable, Mapping

from infra.setup.errors import SetupError
from infra.setup.install import ROOT
from infra.setup.processes import run

# As tests/fixtures/browser.py looks for it.
VARIABLE = "RAGLINE_TEST_BROWSER"
NAMES = ("chromium", "chromium-browser", "google-chrome")
# A Chromium without fonts shows boxes.
PACKAGES = ("chromium", "fonts-dejavu-core", "fonts-liberation")


def install_browser(environ: Mapping[str, str], report: Callable[[str], None]) -> None:
    """See to it that there is a Chromium; at once if there is one.

    Raises:
        SetupError: there is none, and it cannot be installed here; the message says what to do.
    """
    if find_browser(environ):
        return
    apt = shutil.which("apt-get", path=environ.get("PATH"))
    if apt is None or os.geteuid() != 0:
        how = f"run “sudo apt-get install {' '.join(PACKAGES)}”" if apt else "install Chromium or Chrome"
        raise SetupError(f"the page is tested in Chromium, which is missing: {how}, or name one in {VARIABLE}")
    report("installing Chromium (100 MB), for the page's tests")
    quiet = {**environ, "DEBIAN_FRONTEND": "noninteractive"}
    run([apt, "-qq", "update"], quiet, ROOT, what="reading Debian's list of packages")
    run([apt, "-qq", "-y", "--no-install-recommends", "install", *PACKAGES], quiet, ROOT, what="installing Chromium")
    if not find_browser(environ):
        raise SetupError(f"Chromium was installed, but is not on the path: name it in {VARIABLE}")


def find_browser(environ: Mapping[str, str]) -> str | None:
    """Where a Chromium is: the one that is named, else the first on the path."""
    named = environ.get(VARIABLE)
    if named:
        return shutil.which(named)
    return next(filter(None, (shutil.which(name, path=environ.get("PATH")) for name in NAMES)), None)
