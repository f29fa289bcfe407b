"""Logs of the local stack: a bounded file per process, and one merged view on the terminal."""

import re
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import BinaryIO, Literal

import orjson

from infra.local.process import ProcessSpec

Level = Literal["debug", "info", "warning", "error"]

_MAX_BYTES = 10 * 1024 * 1024
_LEVEL = re.compile(r"\b(DEBUG|INFO|WARN|WARNING|ERROR|CRITICAL|FATAL|Traceback \(most recent call last\))(?=\W|$)")
_LEVEL_NAMES: dict[str, Level] = {"DEBUG": "debug", "INFO": "info", "WARN": "warning", "WARNING": "warning"}
# Where a line says its level; further on, the word belongs to the message.
_HEAD_CHARS = 80
_ORDER: tuple[Level, ...] = ("debug", "info", "warning", "error")
_LEAST: dict[Literal["all", "warnings", "errors"], Level] = {"all": "debug", "warnings": "warning", "errors": "error"}
_COLOURS = (36, 32, 33, 35, 34, 96, 92, 93, 95, 94)
_LEVEL_COLOURS: dict[Level, int] = {"warning": 33, "error": 31}
_UNSHOWN = {"event", "level", "timestamp", "logger", "stage", "exception"}


def log_path(data_dir: Path, name: str) -> Path:
    """Log file of a process; the one before it ends in ``.1``."""
    return data_dir / "logs" / f"{name}.log"


class LogFile:
    """A log file that begins anew when opened and when it is 10 MiB long; the one before is kept."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = self._begin()
        self._size = 0

    def write(self, line: bytes) -> None:
        """Append a line."""
        if self._size + len(line) >= _MAX_BYTES:
            self._file.close()
            self._file = self._begin()
            self._size = 0
        self._size += self._file.write(line + b"\n")
        self._file.flush()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _begin(self) -> BinaryIO:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._path.exists():
            self._path.replace(self._path.with_name(f"{self._path.name}.1"))
        return self._path.open("wb")


class MergedView:
    """All processes' logs as one, each line after the name of its process.

    ``write`` takes a whole line. With ``quiet``, only warnings and errors are shown.
    """

    def __init__(self, write: Callable[[str], None], *, colour: bool, quiet: bool) -> None:
        self._write = write
        self._colour = colour
        self._quiet = quiet
        self._colours = cycle(_COLOURS)
        self._width = 0

    def of(self, spec: ProcessSpec) -> Callable[[str], None]:
        """What shows the lines of one process."""
        colour = next(self._colours)
        self._width = max(self._width, len(spec.name))
        least = "warning" if self._quiet and spec.view == "all" else _LEAST[spec.view]
        level: Level = "info"

        def show(line: str) -> None:
            nonlocal level
            # A line without a level, of a traceback say, belongs to the one before.
            level = level_of(line) or level
            if _ORDER.index(level) >= _ORDER.index(least):
                name = self._paint(f"{spec.name:<{self._width}} |", colour)
                text = self._paint(readable(line), _LEVEL_COLOURS.get(level))
                self._write(f"{name} {text}")

        return show

    def _paint(self, text: str, colour: int | None) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._colour and colour else text


def level_of(line: str) -> Level | None:
    """The level that a log line states, as JSON or in capitals near its beginning; None if it states none."""
    record = _json(line)
    if record is not None:
        name = str(record.get("level", "")).lower()
        return next((level for level in _ORDER if level == name), "error" if name == "critical" else None)
    match = _LEVEL.search(line[:_HEAD_CHARS])
    return _LEVEL_NAMES.get(match[1], "error") if match else None


def readable(line: str) -> str:
    """A JSON log line as people read it; any other line as it is."""
    record = _json(line)
    if record is None or "event" not in record:
        return line
    fields = " ".join(f"{key}={value}" for key, value in record.items() if key not in _UNSHOWN)
    exception = f"\n{record['exception']}" if "exception" in record else ""
    return f"{record.get('level', '')} {record['event']} {fields}".strip() + exception


def _json(line: str) -> dict[str, object] | None:
    if not line.startswith("{"):
        return None
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return record if isinstance(record, dict) else None
