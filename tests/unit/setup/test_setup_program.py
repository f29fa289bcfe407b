import ast
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra.setup import __main__ as entry
from infra.setup import clean as cleaning
from infra.setup import program
from infra.setup.clean import running_from
from infra.setup.errors import SetupError

ROOT = Path(__file__).parents[3]
DEADLINE_S = 20


def test_any_python_3_can_read_the_entry() -> None:
    source = Path(entry.__file__).read_text()
    ast.parse(source, feature_version=(3, 4))
    assert "f'" not in source
    assert 'f"' not in source


@pytest.mark.parametrize(
    ("version", "supported"), [((3, 10), False), ((3, 11), True), ((3, 14), True), ((3, 15), False), ((4, 0), False)]
)
def test_supported_versions(version: tuple[int, int], supported: bool) -> None:  # noqa: FBT001
    assert entry.is_supported(version) is supported


def test_an_unsupported_python_is_refused_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(entry.sys, "version_info", (3, 9, 1))
    monkeypatch.setattr(entry, "find_python", lambda: None)
    assert entry.main() == 1
    expected = "ragline needs Python 3.11 to 3.14; python3 is 3.9, and no other was found on the path.\n"
    assert capsys.readouterr().err == expected


def test_a_supported_python_on_the_path_is_found_if_it_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken, works = tmp_path / "python3.11", tmp_path / "python3.12"
    broken.write_text("#!/bin/sh\nexit 127\n")
    works.write_text("#!/bin/sh\nexit 0\n")
    for script in (broken, works):
        script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert entry.find_python() == str(works)


def test_a_refusal_is_a_sentence_and_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        msg = "too little disk"
        raise SetupError(msg)

    monkeypatch.setattr(program, "install", refuse)
    monkeypatch.setattr(program.signal, "signal", lambda *_: None)
    assert program.run(["install", "--accel", "cpu"]) == 1
    output = capsys.readouterr()
    assert output.out == "setup: ACCEL=cpu (as asked)\n"
    assert output.err == "setup: too little disk\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_no_process_outlives_an_interrupted_step(tmp_path: Path, number: signal.Signals) -> None:
    """The step is a shell with a child of its own; both are gone when the set-up is."""
    pids = tmp_path / "pids"
    script = f"echo $$ >> {pids}; sleep 600 & echo $! >> {pids}; echo ready >> {pids}; wait"
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from infra.setup import program\n"
        "from infra.setup.processes import run\n"
        f"program.lock = lambda *_: run(['sh', '-c', {script!r}], os.environ, Path('/'), what='x')\n"
        "sys.exit(program.run(['lock']))\n"
    )
    with started(sys.executable, "-c", code) as process:
        wait_for(lambda: pids.exists() and "ready" in pids.read_text())
        process.send_signal(number)
        _, errors = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 130
    assert errors == "setup: stopped; the same command goes on from here\n"
    shell, sleeper = (int(line) for line in pids.read_text().split()[:2])
    wait_for(lambda: not is_alive(shell) and not is_alive(sleeper))


def test_clean_refuses_while_something_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    venv = tmp_path / ".venv"
    (venv / "bin").mkdir(parents=True)
    sleeper = venv / "bin" / "sleep"
    sleeper.symlink_to("/bin/sleep")
    monkeypatch.setattr(cleaning, "VENV", venv)
    monkeypatch.setattr(cleaning, "ROOT", tmp_path)
    monkeypatch.setattr(cleaning, "MADE", (venv,))
    with started(str(sleeper), "600") as process:
        # A new process has no command line yet.
        wait_for(lambda: list(running_from(venv)) == [process.pid])
        with pytest.raises(SetupError, match=f"process {process.pid}"):
            cleaning.clean([].append)
        assert venv.exists()
    cleaning.clean([].append)
    assert not venv.exists()


@contextmanager
def started(*argv: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(argv, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own programs
        try:
            yield process
        finally:
            process.kill()


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # Nobody may have waited for an orphan yet.
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"


def wait_for(condition: object) -> None:
    assert callable(condition)
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
