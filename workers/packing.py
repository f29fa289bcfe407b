"""Which passages go into a prompt. Pure: the caller knows what they cost."""

import re
from collections.abc import Callable, Sequence
from typing import TypeAlias

from schemas.values import Passage, Source

# Tokens of the whole prompt with these sources.
Cost: TypeAlias = Callable[[Sequence[Source]], int]

_WORD_END = re.compile(r"(?<=\S)(?=\s)")
_ELLIPSIS = " …"


def pack(passages: Sequence[Passage], budget: int, cost: Cost) -> tuple[Source, ...]:
    """Choose passages, best first, such that the prompt's ``cost`` is at most ``budget``.

    Numbers count from 1 in the order of the passages. One that does not fit is passed over for later ones that do; the
    best is cut at the end of a word if it alone is too long. Empty only where not even its first word fits.
    """
    chosen: list[Source] = []
    for rank, passage in enumerate(passages):
        candidate = Source(number=len(chosen) + 1, passage=passage)
        if cost([*chosen, candidate]) <= budget:
            chosen.append(candidate)
        elif rank == 0:
            cut = _cut(candidate, budget, cost)
            if cut is None:
                return ()
            chosen.append(cut)
    return tuple(chosen)


def _cut(source: Source, budget: int, cost: Cost) -> Source | None:
    """The longest beginning of the passage that fits, by bisection over the ends of its words."""
    text = source.passage.text
    ends = [match.start() for match in _WORD_END.finditer(text)]
    best: Source | None = None
    low, high = 0, len(ends)
    while low < high:
        middle = (low + high) // 2
        shortened = source.passage.model_copy(update={"text": text[: ends[middle]] + _ELLIPSIS})
        candidate = source.model_copy(update={"passage": shortened})
        if cost([candidate]) <= budget:
            best, low = candidate, middle + 1
        else:
            high = middle
    return best
