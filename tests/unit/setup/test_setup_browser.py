"""Finding and installing Chromium, with an apt-get that only pretends."""

from pathlib import Path

import pytest

from infra.setup import browser
from infra.setup.errors import SetupError

APT = '#!/bin/sh\necho "$@" >> {log}\ncase "$*" in *chromium*) cp /bin/sh {bin}/chromium;; esac\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(browser.os, "geteuid", lambda: 0)
    (tmp_path / "bin").mkdir()
    return tmp_path / "bin"


def environ(folder: Path, **more: str) -> dict[str, str]:
    return {"PATH": f"{folder}", **more}


def program(path: Path, text: str = "#!/bin/sh\n") -> Path:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return path


def test_a_chromium_that_is_there_is_enough(folder: Path) -> None:
    path = program(folder / "chromium-browser")
    assert browser.find_browser(environ(folder)) == str(path)
    browser.install_browser(environ(folder), pytest.fail)


def test_one_that_is_named_counts_and_nothing_else_does(folder: Path) -> None:
    program(folder / "chromium")
    named = program(folder.parent / "mine")
    assert browser.find_browser(environ(folder, RAGLINE_TEST_BROWSER=str(named))) == str(named)
    assert browser.find_browser(environ(folder, RAGLINE_TEST_BROWSER=str(folder / "none"))) is None


def test_it_is_installed_where_it_is_missing(folder: Path) -> None:
    log = folder.parent / "log"
    program(folder / "apt-get", f"#!/bin/sh\nPATH=/bin:/usr/bin\n{APT.format(log=log, bin=folder)}")
    said: list[str] = []
    browser.install_browser(environ(folder), said.append)
    update, install = log.read_text(encoding="utf-8").splitlines()
    assert update == "-qq update"
    assert install.split()[:4] == ["-qq", "-y", "--no-install-recommends", "install"]
    assert browser.find_browser(environ(folder)) == str(folder / "chromium")
    assert len(said) == 1


def test_who_may_not_install_is_told_what_to_do(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SetupError, match="install Chromium or Chrome, or name one in RAGLINE_TEST_BROWSER"):
        browser.install_browser(environ(folder), pytest.fail)
    program(folder / "apt-get")
    monkeypatch.setattr(browser.os, "geteuid", lambda: 1000)
    with pytest.raises(SetupError, match="run “sudo apt-get install chromium"):
        browser.install_browser(environ(folder), pytest.fail)
