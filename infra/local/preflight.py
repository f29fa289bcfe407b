"""What must be so before anything starts; each refusal is one sentence."""

import platform
import shutil
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from infra.local.config import HOST, StackConfig
from infra.local.processes import workers
from infra.local.report import LocalStackError

_MIB = 1024 * 1024
_OLDEST_PYTHON = (3, 11)
_NEWEST_PYTHON = (3, 14)


@dataclass(frozen=True, slots=True)
class Port:
    """A port that is going to be listened on, what for, and the setting that changes it."""

    number: int
    purpose: str
    setting: str
    host: str = HOST


def check(config: StackConfig) -> None:
    """Check all that the stack needs.

    Raises:
        LocalStackError: something is not so.
    """
    check_platform(sys.version_info[:2], platform.system(), platform.machine())
    check_disk(config.data_dir, config.local.min_free_disk_mib)
    check_ports(ports(config))


def check_platform(python: tuple[int, int], system: str, machine: str) -> None:
    """Refuse a Python or a platform that the local stack does not run on.

    Raises:
        LocalStackError: it does not.
    """
    if not _OLDEST_PYTHON <= python <= _NEWEST_PYTHON:
        oldest, newest, this = (".".join(map(str, version)) for version in (_OLDEST_PYTHON, _NEWEST_PYTHON, python))
        msg = f"ragline runs on Python {oldest} to {newest}, not {this}"
        raise LocalStackError(msg)
    if (system, machine) != ("Linux", "x86_64"):
        msg = f"the local stack runs on Linux x86_64 only, and this is {system} {machine}"
        raise LocalStackError(msg)


def check_disk(data_dir: Path, needed_mib: int) -> None:
    """Refuse a disk with too little room.

    Raises:
        LocalStackError: there is less than ``needed_mib``.
    """
    existing = next(folder for folder in (data_dir, *data_dir.parents) if folder.exists())
    free_mib = shutil.disk_usage(existing).free // _MIB
    if free_mib < needed_mib:
        msg = (
            f"too little disk: {needed_mib} MiB are needed for {data_dir} and {free_mib} MiB are free; "
            "make room, or set local.data_dir to another disk"
        )
        raise LocalStackError(msg)


def ports(config: StackConfig) -> list[Port]:
    """Every port of the stack."""
    local = config.local
    taken = {
        "kafka": [
            Port(local.kafka_port, "Kafka", "local.kafka_port"),
            Port(local.kafka_controller_port, "Kafka's controller", "local.kafka_controller_port"),
        ],
        "milvus": [Port(local.milvus_port, "Milvus", "local.milvus_port")],
        "redis": [Port(local.redis_port, "Valkey", "local.redis_port")],
    }
    found = [port for server in config.servers for port in taken[server]]
    found += [Port(number, f"worker {name}", "local.worker_port") for name, _, number in workers(config)]
    if not config.only_infra:
        found += [
            Port(page.port, purpose, page.setting, page.host)
            for purpose, page in (("the monitor", config.monitor), ("the bridge", config.bridge))
        ]
    return found


def check_ports(wanted: Sequence[Port]) -> None:
    """Refuse ports that are wanted twice, that are chosen by the system, or that somebody listens on.

    Raises:
        LocalStackError: names port, purpose and setting, and whoever has it where that can be told.
    """
    first: dict[int, Port] = {}
    for port in wanted:
        if port.number == 0:
            msg = f"{port.setting} must not be 0: {port.purpose} is watched under its port"
            raise LocalStackError(msg)
        other = first.setdefault(port.number, port)
        if other is not port:
            msg = (
                f"port {port.number} is wanted by both {other.purpose} and {port.purpose}; "
                f"set {other.setting} or {port.setting} to another"
            )
            raise LocalStackError(msg)
        if not _is_free(port):
            holder = _holder(port.number)
            msg = f"port {port.number} for {port.purpose} is taken{holder}; stop that, or set {port.setting} to another"
            raise LocalStackError(msg)


def _is_free(port: Port) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in port.host else socket.AF_INET) as listener:
        # As servers do it: connections that are only winding down are no hindrance.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((port.host, port.number))
        except OSError:
            return False
    return True


def _holder(port: int) -> str:
    """Who listens there, as far as this user may know."""
    with suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port
            if listens and connection.pid:
                return f" by {psutil.Process(connection.pid).name()} (process {connection.pid})"
    return ""
