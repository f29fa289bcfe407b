"""What ``ragline status`` shows: each stage, its processes and how far it is behind."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from rich import box
from rich.table import Table
from rich.text import Text

from infra.local.config import HOST
from infra.local.lag import INPUTS, GroupLag
from infra.local.state import ProcessState, read_state

_TIMEOUT_S = 2.0
_SERVERS = ("kafka", "milvus", "valkey")


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """A process of the local stack and what its page ``/status`` says; the page is empty where there is none."""

    state: ProcessState
    page: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """One stage, server or other part. None means that it is not known: there is no local stack, or no such group.

    ``processes`` counts those of the local stack, ``ready`` those of them that are ready, ``members`` all that are in
    the stage's consumer group, wherever they run. ``partitions`` and ``lag`` are those of that group.
    """

    stage: str
    processes: int | None
    ready: int | None
    members: int | None
    partitions: int | None
    lag: int | None
    in_flight: int | None
    restarts: int | None
    last_error: str


async def processes(data_dir: Path) -> list[ProcessStatus] | None:
    """The processes of the stack that runs on ``data_dir``; None if none does."""
    state = read_state(data_dir)
    if state is None:
        return None
    async with httpx.AsyncClient(timeout=_TIMEOUT_S, trust_env=False) as client:
        pages = await asyncio.gather(*(_page(client, process) for process in state.processes))
    return [ProcessStatus(process, page) for process, page in zip(state.processes, pages, strict=True)]


async def _page(client: httpx.AsyncClient, process: ProcessState) -> Mapping[str, Any]:
    if process.stage not in INPUTS or process.http_port is None:
        return {}
    try:
        response = await client.get(f"http://{HOST}:{process.http_port}/status")
        page = response.raise_for_status().json()
    except (httpx.HTTPError, ValueError):
        return {}
    return page if isinstance(page, dict) else {}


def rows(found: Sequence[ProcessStatus] | None, lags: Mapping[str, GroupLag]) -> list[Row]:
    """One row for each stage with a group or a process, in the order of the way of a question; then the other parts."""
    stages = list(INPUTS) + [part for part in ("monitor", "bridge", *_SERVERS) if part in _parts(found)]
    return [_row(stage, found, lags.get(stage)) for stage in stages]


def _parts(found: Sequence[ProcessStatus] | None) -> set[str]:
    return {process.state.stage for process in found or ()}


def _row(stage: str, found: Sequence[ProcessStatus] | None, group: GroupLag | None) -> Row:
    ours = [process for process in found or () if process.state.stage == stage]
    in_flight = [process.page["in_flight"] for process in ours if "in_flight" in process.page]
    errors = [error for process in ours if (error := process.page.get("last_error") or process.state.last_error)]
    known = found is not None
    return Row(
        stage=stage,
        processes=len(ours) if known else None,
        ready=sum(process.state.phase == "ready" for process in ours) if known else None,
        members=group.members if group else None,
        partitions=group.partitions if group else None,
        lag=group.lag if group else None,
        in_flight=sum(in_flight) if in_flight else None,
        restarts=sum(process.state.restarts for process in ours) if known else None,
        last_error=errors[-1] if errors else "",
    )


def render(shown: Sequence[Row]) -> Table:
    """The rows as a table for people."""
    # Narrow terminals cut the error, not the numbers.
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("stage", no_wrap=True, min_width=max((len(row.stage) for row in shown), default=0))
    for heading in ("processes", "members", "partitions", "lag", "in flight", "restarts"):
        table.add_column(heading, justify="right", min_width=max(map(len, heading.split())))
    table.add_column("last error", overflow="fold")
    for row in shown:
        table.add_row(
            row.stage,
            _processes(row),
            *(_number(value) for value in (row.members, row.partitions, row.lag, row.in_flight, row.restarts)),
            # Text, not markup: an error may hold brackets.
            Text(row.last_error),
        )
    return table


def _processes(row: Row) -> str:
    if row.processes is None:
        return "?"
    return str(row.processes) if row.ready == row.processes else f"{row.processes} ({row.ready} ready)"


def _number(value: int | None) -> str:
    return "" if value is None else str(value)
