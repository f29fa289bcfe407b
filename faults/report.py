"""The results as a table for people and as one object for programs."""

import math
import os
import statistics
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from faults.campaign import Round

_HEADINGS = (
    "fault",
    "stages",
    "guarantee",
    "requests",
    "injected",
    "lost",
    "duplicated",
    "other",
    "recovery, s",
    "kept",
)

_PAGE = """# What was killed, and what became of the requests

Written by `make faults` on {date}: {requests} requests over both guarantees, {real} of them through the real stages,
seed {seed}, in {minutes} minutes on {cores} cores. Three Kafka brokers (replication 3, two in-sync replicas at least)
and two worker processes for each stage of a question, all as processes of the local stack.

Most rounds have stages that *echo*: the runtime, the events and the topics are real, and nothing waits for a model. The
*real* ones are ragline's own, with the projector, on Milvus Lite and Valkey; only the two models have stand-ins, a
hashing embedder and an engine that repeats its prompt, under the watchdog that watches vLLM.

`make faults` runs all of it again, `make faults-short` a selection in less than four minutes, `make faults-mutants`
plants defects in the runtime and checks that they are found. The same seed makes the same choices: which stage, which
broker, which request, after how many passes.

## Results

{table}

- *injected*: how often the fault was made, or how many questions asked for it.
- *lost*: a stage's input without an output or an end. *duplicated*: more than one output, or end, or dead letter for an
  input; `at_least_once` allows it where work is cut off, and only there.
- *other*: outputs of an input that was never committed, or under another request's key or question; an answer where
  there must be none; a token stream whose text is not its answer's, or that does not end; records that a group had not
  committed at the end; transactions still open. All must be 0.
- *kept*: none of that; and where a fault is no reason for it, no worker has ended by itself.
- *recovery*: from the fault's beginning until every request asked before its end had ended, median / longest.

Records of attempts that were cut off, in the topics' logs and seen by no reader of committed records: {aborted}.
Answers of the real stages that were given at a second or later attempt, the first one having been cut off: {later}.
Token streams that were held against their answers: {streams}.

## Faults

{faults}

## Who judges

`faults/oracle.py` shares no code with the runtime. It reads the topics as a careful consumer does (`read_committed`),
follows each record's source headers back, and demands of each stage one output or one end for each input.
`faults/streams.py` reads the live view as somebody who watches: a higher attempt drops what was there, and in the end
the text must be the answer's of that attempt. The engine says a word of its own in every attempt, so that two cannot be
taken for one another. Its own tests spoil faultless histories and look whether that is seen; the mutants do the same to
the runtime.
"""


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
                "later_attempts": made.later_attempts,
                "streams": made.streams,
                "kept": made.kept,
            }
            for made in rounds
        ],
    }


def document(rounds: Sequence[Round], aborted: Mapping[str, int], seed: int, took_s: float) -> str:
    """The page that keeps the results."""
    faults = dict.fromkeys(made.fault for made in rounds)
    return _PAGE.format(
        date=datetime.now(UTC).date().isoformat(),
        requests=sum(made.verdict.requests for made in rounds),
        seed=seed,
        cores=os.cpu_count(),
        minutes=math.ceil(took_s / 60),
        real=sum(made.verdict.requests for made in rounds if made.fault.real),
        streams=sum(made.streams for made in rounds),
        later=sum(made.later_attempts for made in rounds if made.fault.real),
        table=table(rounds),
        aborted=", ".join(f"{count} under {guarantee}" for guarantee, count in aborted.items()),
        faults="\n".join(f"- **{fault.name}**: {fault.about}" for fault in faults),
    )


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
        "real" if made.fault.real else "echo",
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
