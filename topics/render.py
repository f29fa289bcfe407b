"""Plans and descriptions as plain text."""

from collections.abc import Iterable, Sequence

from topics.cluster import PartitionState
from topics.plan import Plan


def render_plan(plan: Plan) -> str:
    """One line per difference, marked ``+`` to create, ``~`` with consent, ``!`` by hand; then advice, then a count."""
    lines = [
        f"+ {new.topic}: create with {new.partitions} partitions, replication factor {new.replication_factor}, "
        + ", ".join(f"{name}={value}" for name, value in sorted(new.configs.items()))
        for new in plan.creates
    ]
    lines += [f"~ {grow.topic}: partitions is {grow.actual}, declared {grow.wanted}" for grow in plan.grows]
    lines += [
        f"{'~' if found.fixable else '!'} {found.topic}: {found.setting} is {found.actual or 'unset'}, "
        f"declared {found.wanted}"
        for found in plan.mismatches
    ]
    advice = {grow.advice: "~ partitions" for grow in plan.grows}
    for found in plan.mismatches:
        advice.setdefault(found.advice, "~ other settings" if found.fixable else f"! {found.setting}")
    lines += [f"{mark}: {sentence}" for sentence, mark in advice.items()]
    different = {found.topic for found in plan.mismatches} | {grow.topic for grow in plan.grows}
    lines.append(f"{len(plan.creates)} to create, {len(different)} different, {len(plan.unchanged)} as declared")
    return "\n".join(lines)


DESCRIPTION_COLUMNS = ("topic", "partition", "leader", "replicas", "in sync", "first offset", "next offset")


def description_rows(states: Iterable[PartitionState]) -> list[tuple[str, ...]]:
    """One row per partition, in the order of ``DESCRIPTION_COLUMNS``."""
    return [
        (
            state.topic,
            str(state.partition),
            "none" if state.leader is None else str(state.leader),
            ",".join(map(str, state.replicas)),
            ",".join(map(str, state.in_sync)),
            _offset(state.first_offset),
            _offset(state.next_offset),
        )
        for state in states
    ]


def render_description(states: Iterable[PartitionState]) -> str:
    """A table with one line per partition."""
    return table([DESCRIPTION_COLUMNS, *description_rows(states)])


def _offset(offset: int | None) -> str:
    return "unknown" if offset is None else str(offset)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows as lines, in columns as wide as they need to be."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
