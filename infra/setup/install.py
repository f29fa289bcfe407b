"""Builds the virtual environment from a lock. Steps, each repeatable; a stamp says that all were done."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.setup import preflight
from infra.setup.indexes import UvOptions, parse_pip_config, uv_options
from infra.setup.processes import Command, output_of, run

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
BOOTSTRAP = ROOT / ".bootstrap"
STAMP = VENV / "ragline.stamp"
SETTINGS_FILE = ROOT / "ragline.toml"

# Generous, for a slow line is no error: seconds without a byte.
_HTTP_TIMEOUT_S = 300
_HTTP_RETRIES = 8


@dataclass(frozen=True, slots=True)
class Accel:
    """What the engine runs on, and what a first set-up of it takes: measured for cpu, estimated for gpu."""

    name: str
    disk_gib: float
    download_gb: float

    @property
    def lock(self) -> Path:
        """The packages, with hashes."""
        return ROOT / "requirements" / f"{self.name}.lock"


ACCELS = {accel.name: accel for accel in (Accel("cpu", 9, 3.5), Accel("gpu", 16, 6))}


def choose_accel(wanted: str) -> tuple[Accel, str]:
    """Choose by name, or for ``auto`` by what the machine has; with the reason."""
    if wanted != "auto":
        return ACCELS[wanted], "as asked"
    if Path("/dev/nvidia0").exists() or _nvidia_smi_works():
        return ACCELS["gpu"], "this machine has an NVIDIA GPU"
    return ACCELS["cpu"], "this machine has no NVIDIA GPU"


def install(accel: Accel, environ: Mapping[str, str], report: Callable[[str], None], *, ports: bool) -> None:
    """Make ``.venv`` hold exactly the packages of a lock and ragline itself; at once if it does already.

    ``ports`` also refuses taken ports, if there is anything to do.

    Raises:
        SetupError: the machine lacks something, or a step failed.
    """
    with _alone(report):
        if is_installed(accel):
            return
        preflight.check_platform()
        preflight.check_venv()
        if ports:
            preflight.check_ports(preflight.read_settings(SETTINGS_FILE), environ)
        needed = int(accel.disk_gib * preflight.GIB) - preflight.size_of(VENV)
        preflight.check_disk((VENV, _uv_cache(environ)), max(needed, preflight.GIB))
        half_done = _prepare_venv(environ, report)
        uv = prepare_uv(environ, report)
        if half_done:
            # A uv that was stopped leaves what it was unpacking, gigabytes in the worst case.
            run([uv, "cache", "prune", "--quiet"], environ, ROOT, what="clearing uv's cache of half done work")
        _sync(uv, accel, environ, report)
        STAMP.write_text(stamp_of(accel), encoding="utf-8")


def is_installed(accel: Accel) -> bool:
    """Tell whether an earlier run finished for this lock, and its Python is still there."""
    return STAMP.is_file() and STAMP.read_text(encoding="utf-8") == stamp_of(accel) and _runs(VENV)


def stamp_of(accel: Accel) -> str:
    """Name everything that the virtual environment is made from; the folder comes first, for scripts hold its path."""
    digest = hashlib.sha256()
    for file in (accel.lock, ROOT / "pyproject.toml"):
        digest.update(file.read_bytes())
    return f"{ROOT}\n{accel.name}\n{digest.hexdigest()}\n"


def prepare_uv(environ: Mapping[str, str], report: Callable[[str], None]) -> Path:
    """Give back the locked uv, installed by pip into an environment of its own."""
    lock = ROOT / "requirements" / "bootstrap.lock"
    stamp = BOOTSTRAP / "ragline.stamp"
    wanted = hashlib.sha256(lock.read_bytes()).hexdigest()
    uv = BOOTSTRAP / "bin" / "uv"
    if not (stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted and _runs(BOOTSTRAP)):
        report("installing uv, which installs everything else (25 MB)")
        shutil.rmtree(BOOTSTRAP, ignore_errors=True)
        run([sys.executable, "-m", "venv", BOOTSTRAP], environ, ROOT, what="making a virtual environment for uv")
        pip: Command = [BOOTSTRAP / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-input"]
        locked: Command = ["--require-hashes", "--only-binary", ":all:", "--requirement", lock]
        run([*pip, "--disable-pip-version-check", *locked], environ, ROOT, what="installing uv")
        stamp.write_text(wanted, encoding="utf-8")
    return uv


def uv_environment(environ: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Environment and flags for uv: the user's own, and where pip is told to find packages."""
    listing = output_of([BOOTSTRAP / "bin" / "python", "-m", "pip", "config", "list"], environ, ROOT)
    options: UvOptions = uv_options(parse_pip_config(listing), environ)
    patience = {"UV_HTTP_TIMEOUT": str(_HTTP_TIMEOUT_S), "UV_HTTP_RETRIES": str(_HTTP_RETRIES)}
    return {**patience, **environ, **options.environ}, options.flags


def _prepare_venv(environ: Mapping[str, str], report: Callable[[str], None]) -> bool:
    """Keep a finished environment, for uv brings it up to date; make anew one that is half done or was moved.

    True if there was one that had to go.
    """
    if STAMP.is_file() and STAMP.read_text(encoding="utf-8").startswith(f"{ROOT}\n") and _runs(VENV):
        STAMP.unlink()
        return False
    there = VENV.exists()
    if there:
        report("making .venv anew: no set-up of this folder finished it (what was downloaded is kept)")
        shutil.rmtree(VENV)
    run([sys.executable, "-m", "venv", "--without-pip", VENV], environ, ROOT, what="making the virtual environment")
    return there


def _sync(uv: Path, accel: Accel, environ: Mapping[str, str], report: Callable[[str], None]) -> None:
    uv_environ, flags = uv_environment(environ)
    python = ["--python", str(VENV / "bin" / "python")]
    report(f"installing packages; the first time, about {accel.download_gb} GB are downloaded, which takes minutes")
    sync: Command = [uv, "pip", "sync", *python, *flags, "--require-hashes", "--no-build", accel.lock]
    run(sync, uv_environ, ROOT, what="installing packages")
    report("installing ragline itself")
    itself: Command = [
        uv,
        "pip",
        "install",
        "--quiet",
        *python,
        "--offline",
        "--no-deps",
        "--no-build-isolation",
        "--editable",
    ]
    run([*itself, ROOT], uv_environ, ROOT, what="installing ragline itself")


@contextmanager
def _alone(report: Callable[[str], None]) -> Iterator[None]:
    """Hold a lock on the checkout; the system lets go of it when the process ends."""
    folder = os.open(ROOT, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("waiting for another set-up of this folder")
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _runs(venv: Path) -> bool:
    python = venv / "bin" / "python"
    return python.exists() and subprocess.call([python, "-I", "-S", "-c", ""], stderr=subprocess.DEVNULL) == 0  # noqa: S603


def _nvidia_smi_works() -> bool:
    program = shutil.which("nvidia-smi")
    if program is None:
        return False
    return subprocess.call([program, "-L"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0  # noqa: S603


def _uv_cache(environ: Mapping[str, str]) -> Path:
    """Where uv keeps what it downloads, unless a configuration file says otherwise."""
    if "UV_CACHE_DIR" in environ:
        return Path(environ["UV_CACHE_DIR"])
    return Path(environ.get("XDG_CACHE_HOME") or Path(environ.get("HOME", "/"), ".cache")) / "uv"
