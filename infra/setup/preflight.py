"""What must be so before any work begins: platform, standard library, disk, ports."""

import importlib.util
import os
import platform
import shutil
import socket
import sys
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.setup.errors import SetupError

GIB = 1024**3
# The oldest C library that every locked package was built for.
GLIBC = (2, 31)


@dataclass(frozen=True, slots=True)
class Port:
    """A port of the demo: the setting that changes it, its default, and the setting that makes it unused if given."""

    what: str
    setting: tuple[str, str]
    default: int
    unless: tuple[str, str] | None = None


PORTS = (
    Port("Kafka", ("local", "kafka_port"), 9092, ("kafka", "bootstrap_servers")),
    Port("Kafka's controller", ("local", "kafka_controller_port"), 9093, ("kafka", "bootstrap_servers")),
    Port("Milvus", ("local", "milvus_port"), 19530, ("milvus", "uri")),
    Port("Valkey", ("local", "redis_port"), 6379, ("redis", "url")),
    Port("the monitor", ("monitor", "http_port"), 8089),
    Port("the web page", ("bridge", "port"), 8080),
)


def check_platform() -> None:
    """Refuse a platform for which no packages are locked.

    Raises:
        SetupError: not Linux on x86_64 with a recent GNU C library.
    """
    machine = platform.machine()
    if sys.platform != "linux" or machine != "x86_64":
        msg = f"ragline sets itself up on Linux x86_64 only; this is {platform.system()} {machine}"
        raise SetupError(msg)
    library, version = platform.libc_ver()
    if library != "glibc" or tuple(int(part) for part in version.split(".")[:2]) < GLIBC:
        needed = ".".join(str(part) for part in GLIBC)
        here = f"{library} {version}" if library else "another C library"
        msg = f"ragline's packages need glibc {needed} or newer; this system has {here}"
        raise SetupError(msg)


def check_venv() -> None:
    """Refuse a Python without what makes virtual environments, which Debian packages apart.

    Raises:
        SetupError: module venv or ensurepip is missing.
    """
    missing = [name for name in ("venv", "ensurepip") if importlib.util.find_spec(name) is None]
    if missing:
        package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
        msg = f"{sys.executable} has no module {' and '.join(missing)}; on Debian and Ubuntu, install {package}"
        raise SetupError(msg)


def check_disk(folders: Iterable[Path], needed_bytes: int) -> None:
    """Refuse to fill a disk. Folders on one file system share the need; they need not exist yet.

    Raises:
        SetupError: a file system has less than ``needed_bytes`` free.
    """
    for folder in {_existing(folder).stat().st_dev: _existing(folder) for folder in folders}.values():
        free = shutil.disk_usage(folder).free
        if free < needed_bytes:
            sizes = f"set-up needs {needed_bytes / GIB:.1f} GiB there, {free / GIB:.1f} GiB are free"
            msg = f"too little disk at {folder}: {sizes}"
            raise SetupError(msg)


def check_ports(settings: Mapping[str, object], environ: Mapping[str, str]) -> None:
    """Refuse a taken port before a long set-up; ``ragline up`` checks the same again.

    Raises:
        SetupError: someone listens on a port that the demo needs.
    """
    for port in PORTS:
        if port.unless and _setting(port.unless, settings, environ):
            continue
        number = int(str(_setting(port.setting, settings, environ) or port.default))
        if is_taken(number):
            name = _variable(port.setting)
            msg = f"port {number}, which {port.what} needs, is taken; stop what listens there or set {name} to another"
            raise SetupError(msg)


def is_taken(port: int) -> bool:
    """Tell whether someone listens on a port of the loopback interface."""
    with socket.socket() as probe:
        # As servers do: a connection that only lingers does not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def read_settings(file: Path) -> Mapping[str, object]:
    """Read the settings file, if there is one.

    Raises:
        SetupError: it is not TOML.
    """
    try:
        return tomllib.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        msg = f"{file} is not TOML: {error}"
        raise SetupError(msg) from error


def size_of(folder: Path) -> int:
    """Bytes that the files below a folder take; 0 if it is missing."""
    total = 0
    for parent, _, names in os.walk(folder):
        total += sum(os.lstat(Path(parent, name)).st_size for name in names)
    return total


def _setting(path: tuple[str, str], settings: Mapping[str, object], environ: Mapping[str, str]) -> object:
    section = settings.get(path[0])
    return environ.get(_variable(path)) or (section.get(path[1]) if isinstance(section, dict) else None)


def _variable(path: tuple[str, str]) -> str:
    return f"RAGLINE_{'__'.join(path).upper()}"


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())
