"""The results as a table for people and as one object for programs."""

import statistics
from collections.abc import Sequence

from faults.campaign import Round

_HEADINGS = ("fault", "guarantee", "requests", "injected", "lost", "duplicated", "other", "recovery, s", "kept")


def table(rounds: Sequence[Round]) -> str:
    """One line a round, as a Markdown table. Recovery is the median and the longest."""
    lines = [_HEADINGS, tuple("---" for _ in _HEADINGS), *(_row(made) for made in rounds)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def summary(rounds: Sequence[Round]) -> dict[str, object]:
    """Totals by guarantee, and each round."""
    return {
        "kept": all(made.kept for made in rounds),
        "requests": sum(made.verdict.requests for made in rounds),
        **{
            f"{guarantee}_{kind}": sum(made.verdict.count(kind) for made in rounds if made.guarantee == guarantee)
            for guarantee in dict.fromkeys(made.guarantee for made in rounds)
            for kind in ("lost", "duplicated")
        },
        "rounds": [
            {
                "fault": made.fault.name,
                "guarantee": made.guarantee,
                "requests": made.verdict.requests,
                "injected": injected(made),
                "lost": made.verdict.count("lost"),
                "duplicated": made.verdict.count("duplicated"),
                "other": other(made),
                "recovery_s": [None if seconds is None else round(seconds, 2) for seconds in made.recovery_s],
                "worker_deaths": made.deaths,
                "kept": made.kept,
            }
            for made in rounds
        ],
    }


def injected(made: Round) -> int:
    """How often the fault was injected; questions that ask for it count too."""
    return len(made.recovery_s) or made.asked_for


def other(made: Round) -> int:
    """What must never be, besides losses and duplicates: mixed-up records, records left behind, open transactions."""
    verdict = made.verdict
    findings = sum(finding.kind not in {"lost", "duplicated"} for finding in verdict.findings)
    return findings + sum(verdict.behind.values()) + len(verdict.open)


def _row(made: Round) -> tuple[str, ...]:
    verdict = made.verdict
    return (
        made.fault.name,
        made.guarantee,
        str(verdict.requests),
        str(injected(made)),
        str(verdict.count("lost")),
        str(verdict.count("duplicated")),
        str(other(made)),
        _recovery(made.recovery_s),
        "yes" if made.kept else "**no**",
    )


def _recovery(seconds: Sequence[float | None]) -> str:
    known = [each for each in seconds if each is not None]
    if not seconds:
        return "-"
    if len(known) < len(seconds):
        return "never"
    return f"{statistics.median(known):.1f} / {max(known):.1f}"
