"""Options that say which recorded requests are meant."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import JsonValue

from ragline.letters import moment
from replay.errors import ReplayError

if TYPE_CHECKING:
    from replay.planning import Asked

Since = Annotated[str | None, typer.Option(help="Recorded at or after: 2026-01-31T12:00 (UTC), or 2h for so long ago.")]
Until = Annotated[str | None, typer.Option(help="Recorded before; as --since.")]
Offsets = Annotated[str | None, typer.Option(help="PARTITION:FIRST-LAST,… instead of times.")]
Ids = Annotated[Path | None, typer.Option(help="File of request IDs, one a line: only these.")]
Sample = Annotated[int | None, typer.Option(min=1, help="Only so many requests, drawn at random.")]
Seed = Annotated[int, typer.Option(help="Which sample: the same seed draws the same requests.")]


def check(since: str | None, until: str | None, offsets: str | None, ids: Path | None, sample: int | None) -> None:
    """Refuse options that say the same thing.

    Raises:
        ReplayError: two of them do.
    """
    if offsets is not None and (since or until):
        raise ReplayError("--offsets and --since or --until say the same thing; give one of them")
    if ids is not None and sample is not None:
        raise ReplayError("--ids and --sample say the same thing; give one of them")


def asked(
    topic: str,
    since: str | None,
    until: str | None,
    offsets: str | None,
    ids: Path | None,
    sample: int | None,
    seed: int,
    changes: list[str],
) -> "Asked":
    """The options as a whole; ``changes`` are ``stage.setting=value`` items.

    Raises:
        ReplayError: one of them cannot be read.
    """
    # What reads recordings is imported when a command runs: no other one should wait for it.
    from replay.overrides import parse  # noqa: PLC0415
    from replay.planning import Asked  # noqa: PLC0415

    now = datetime.now(UTC)
    said = {"from": topic, "since": since, "until": until, "offsets": offsets, "sample": sample, "seed": seed}
    overrides = parse(changes)
    words: dict[str, JsonValue] = {name: value for name, value in said.items() if value is not None}
    words["set"] = [*sorted(f"{override.name}={override.text}" for override in overrides)]
    try:
        since_ms, until_ms = (int(moment(text, now).timestamp() * 1000) if text else None for text in (since, until))
    except ValueError as error:
        raise ReplayError(str(error)) from None
    if since_ms is not None and until_ms is not None and until_ms <= since_ms:
        raise ReplayError(f"--until {until} is not after --since {since}")
    return Asked(
        topic=topic,
        since_ms=since_ms,
        until_ms=until_ms,
        offsets=offsets,
        ids=_ids(ids) if ids else None,
        sample=sample,
        seed=seed,
        overrides=overrides,
        words=words,
    )


def _ids(file: Path) -> frozenset[str]:
    try:
        found = frozenset(line.strip() for line in file.read_text("utf-8").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise ReplayError(f"the request IDs cannot be read from {file}: {error}") from None
    if not found:
        raise ReplayError(f"{file} has no request IDs")
    return found
