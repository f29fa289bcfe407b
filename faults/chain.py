"""The way of a request through the stages, and what its question asks of them."""

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

from topics.specs import (
    ANSWERS,
    PASSAGES_RETRIEVED,
    PROMPTS_BUILT,
    QUERIES,
    QUERIES_ACCEPTED,
    QUERIES_EMBEDDED,
    TopicSpec,
)

# poison: cannot be handled; huge: its output fits no topic; killing: kills whoever handles it; flaky: fails once;
# slow: takes seconds, while others pass it.
Wish: TypeAlias = Literal["poison", "huge", "killing", "flaky", "slow"]
_FATAL = frozenset({"poison", "huge", "killing"})
_WISHES = re.compile(r"(poison|huge|killing|flaky|slow) (\w+): ")


@dataclass(frozen=True, slots=True)
class Step:
    """One stage: what it reads and what it writes when all is well."""

    stage: str
    source: TopicSpec
    target: TopicSpec


CHAIN = (
    Step("query", QUERIES, QUERIES_ACCEPTED),
    Step("embedding", QUERIES_ACCEPTED, QUERIES_EMBEDDED),
    Step("retrieval", QUERIES_EMBEDDED, PASSAGES_RETRIEVED),
    Step("prompt", PASSAGES_RETRIEVED, PROMPTS_BUILT),
    Step("generation", PROMPTS_BUILT, ANSWERS),
)
STAGES = tuple(step.stage for step in CHAIN)


def ask(text: str, wish: Wish | None = None, stage: str | None = None) -> str:
    """A question; with a wish, one that asks it of a stage."""
    return f"{wish} {stage}: {text}" if wish else text


def wish_of(question: str, stage: str) -> Wish | None:
    """What the question asks of this stage."""
    found = _WISHES.match(question)
    return found[1] if found and found[2] == stage else None  # type: ignore[return-value]  # the pattern's words


def has_wish(question: str) -> bool:
    """Whether the question asks anything of a stage."""
    return _WISHES.match(question) is not None


def failing_stage(question: str) -> str | None:
    """The stage at which a request with this question must end as a dead letter; None when it must be answered."""
    found = _WISHES.match(question)
    return found[2] if found and found[1] in _FATAL else None
