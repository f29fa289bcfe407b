import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from infra.setup import install as module
from infra.setup import preflight
from infra.setup.errors import SetupError
from infra.setup.install import ACCELS, Accel, choose_accel, install, is_installed

ROOT = Path(__file__).parents[3]


class Commands:
    """Stands where programs are run: notes them, makes environments that look right, fails on demand."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.failing = ""

    def run(self, argv: Sequence[object], _environ: object, _cwd: object, *, what: str) -> None:
        self.ran.append(what)
        if what == self.failing:
            msg = f"{what} failed"
            raise SetupError(msg)
        if "venv" in argv:
            python = Path(str(argv[-1])) / "bin" / "python"
            python.parent.mkdir(parents=True)
            python.symlink_to(sys.executable)

    def output_of(self, *_: object) -> str:
        return ""


@pytest.fixture
def accel() -> Accel:
    return Accel("cpu", 0.001, 0)


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    """A checkout in an empty folder."""
    (tmp_path / "requirements").mkdir()
    for name in ("requirements/cpu.lock", "requirements/gpu.lock", "requirements/bootstrap.lock", "pyproject.toml"):
        (tmp_path / name).write_text(name)
    for name, path in {
        "ROOT": tmp_path,
        "VENV": tmp_path / ".venv",
        "BOOTSTRAP": tmp_path / ".bootstrap",
        "STAMP": tmp_path / ".venv" / "stamp",
        "SETTINGS_FILE": tmp_path / "ragline.toml",
    }.items():
        monkeypatch.setattr(module, name, path)
    commands = Commands()
    monkeypatch.setattr(module, "run", commands.run)
    monkeypatch.setattr(module, "output_of", commands.output_of)
    return commands


def set_up(accel: Accel, **environ: str) -> list[str]:
    lines: list[str] = []
    install(accel, environ, lines.append, ports=False)
    return lines


ALL_STEPS = [
    "making the virtual environment",
    "making a virtual environment for uv",
    "installing uv",
    "installing packages",
    "installing ragline itself",
]


def test_a_second_run_does_nothing(commands: Commands, accel: Accel) -> None:
    lines = set_up(accel)
    assert commands.ran == ALL_STEPS
    assert any("GB are downloaded" in line for line in lines)
    commands.ran.clear()
    assert set_up(accel) == []
    assert commands.ran == []


def test_an_interrupted_run_is_repaired_by_the_next(commands: Commands, accel: Accel) -> None:
    commands.failing = "installing packages"
    with pytest.raises(SetupError):
        set_up(accel)
    assert not is_installed(accel)
    half = module.VENV / "half-a-package"
    half.touch()
    commands.failing = ""
    commands.ran.clear()
    set_up(accel)
    assert commands.ran == [
        "making the virtual environment",
        "clearing uv's cache of half done work",
        "installing packages",
        "installing ragline itself",
    ]
    assert not half.exists()
    assert is_installed(accel)


@pytest.mark.parametrize("changed", ["requirements/cpu.lock", "pyproject.toml"])
def test_a_changed_lock_is_synced_into_what_is_there(commands: Commands, accel: Accel, changed: str) -> None:
    set_up(accel)
    (module.ROOT / changed).write_text("changed")
    commands.ran.clear()
    set_up(accel)
    assert commands.ran == ["installing packages", "installing ragline itself"]


def test_another_accel_is_synced_into_what_is_there(commands: Commands, accel: Accel) -> None:
    set_up(accel)
    commands.ran.clear()
    set_up(Accel("gpu", 0.001, 0))
    assert commands.ran == ["installing packages", "installing ragline itself"]
    assert not is_installed(accel)


def test_a_moved_folder_is_made_anew_for_scripts_hold_its_path(
    commands: Commands, accel: Accel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    set_up(accel)
    moved = tmp_path.with_name(tmp_path.name + "-moved")
    shutil.move(tmp_path, moved)
    for name in ("ROOT", "VENV", "BOOTSTRAP", "STAMP"):
        monkeypatch.setattr(module, name, moved / getattr(module, name).relative_to(tmp_path))
    commands.ran.clear()
    set_up(accel)
    assert "making the virtual environment" in commands.ran


def test_a_python_that_went_away_is_noticed(commands: Commands, accel: Accel) -> None:
    set_up(accel)
    commands.ran.clear()
    python = module.VENV / "bin" / "python"
    python.unlink()
    python.symlink_to("/nowhere/python3")
    assert not is_installed(accel)
    set_up(accel)
    assert "making the virtual environment" in commands.ran
    assert is_installed(accel)


def test_too_little_disk_is_refused_before_any_work(commands: Commands, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="too little disk"):
        set_up(Accel("cpu", 1e9, 0), UV_CACHE_DIR=str(tmp_path))
    assert commands.ran == []


def test_a_taken_port_is_refused_before_any_work(
    commands: Commands, accel: Accel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "is_taken", lambda _: True)
    with pytest.raises(SetupError, match="is taken"):
        install(accel, {}, [].append, ports=True)
    assert commands.ran == []


def test_the_machine_decides_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_accel("gpu") == (ACCELS["gpu"], "as asked")
    here = Path("/dev/nvidia0").exists()
    for works in (False, True):
        monkeypatch.setattr(module, "_nvidia_smi_works", lambda works=works: works)
        accel, reason = choose_accel("auto")
        assert accel.name == ("gpu" if works or here else "cpu")
        assert "NVIDIA GPU" in reason


@pytest.mark.parametrize("lock", sorted((ROOT / "requirements").glob("*.lock")), ids=lambda lock: str(lock.name))
def test_a_lock_has_hashes_and_no_address(lock: Path) -> None:
    text = lock.read_text()
    assert "://" not in text
    packages = [line for line in text.splitlines() if line and line[0] not in " #"]
    assert packages
    assert all(line.endswith("\\") for line in packages)
    assert text.count("--hash=sha256:") >= len(packages)


def test_every_accel_has_a_lock() -> None:
    assert all(accel.lock.is_file() for accel in ACCELS.values())
