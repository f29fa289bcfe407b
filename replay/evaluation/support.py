"""Whether passages hold what a sentence says: a guess by words or by vectors, and called so wherever it is shown.

Neither reads: a sentence that says the opposite in the same words counts as supported. That is for a judge.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import lru_cache
from typing import Protocol

import numpy as np

from backends.stemming import stems
from replay.evaluation.sentences import sentences
from schemas.values import FloatArray

LEXICAL_THRESHOLD = 0.6
EMBEDDING_THRESHOLD = 0.6

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
# Words without content of their own; in another language than English all words count, and the threshold bears it.
_FUNCTION_WORDS = frozenset(
    """a about after all also an and any are as at be because been before but by can could did do does doing down for
    from further had has have having he her here him his how i if in into is it its itself may me might more most my no
    nor not of off on once only or other our out over own same she should so some such than that the their them then
    there these they this those through to too under until up us very was we were what when where which while who whom
    why will with would you your according passage passages source sources""".split()  # noqa: SIM905 - reads better
)
_CACHED_TEXTS = 50_000


class Support(Protocol):
    """Says whether texts hold what a sentence says. ``label`` tells people how it was found out."""

    label: str

    def holds(self, sentence: str, texts: Sequence[str]) -> bool:
        """Whether the texts together support the sentence; no texts support nothing."""
        ...


class LexicalSupport:
    """By words: at least ``threshold`` of the sentence's content words, as stems, and all of its numbers are there."""

    def __init__(self, language: str = "english", threshold: float = LEXICAL_THRESHOLD) -> None:
        self.label = f"lexical: {threshold:.0%} of the content words, and every number"
        self._threshold = threshold
        self._words_of = lru_cache(maxsize=_CACHED_TEXTS)(lambda text: frozenset(stems(text, language)))
        self._numbers_of = lru_cache(maxsize=_CACHED_TEXTS)(_numbers)
        self._function_stems = frozenset(stem for word in _FUNCTION_WORDS for stem in stems(word, language))

    def holds(self, sentence: str, texts: Sequence[str]) -> bool:
        if not texts:
            return False
        there = frozenset().union(*map(self._words_of, texts))
        if not _numbers(sentence) <= frozenset().union(*map(self._numbers_of, texts)):
            return False
        words = self._words_of(sentence)
        # A sentence of function words alone is held to all of them.
        content = (words - self._function_stems) or words
        return len(content & there) >= self._threshold * len(content)


class EmbeddingSupport:
    """By vectors: the cosine similarity of the sentence and one sentence of the texts is at least ``threshold``.

    ``vectors`` has unit vectors by sentence, as ``embedded`` makes them.
    """

    def __init__(self, vectors: dict[str, FloatArray], model: str, threshold: float = EMBEDDING_THRESHOLD) -> None:
        self.label = f"embedding: cosine similarity of {threshold} with one sentence ({model})"
        self._vectors = vectors
        self._threshold = threshold

    def holds(self, sentence: str, texts: Sequence[str]) -> bool:
        there = [self._vectors[part.text] for text in texts for part in sentences(text)]
        if not there:
            return False
        return float(np.max(np.stack(there) @ self._vectors[sentence])) >= self._threshold


async def embedded(
    texts: Iterable[str], embed: Callable[[Sequence[str]], Awaitable[FloatArray]], batch: int = 256
) -> dict[str, FloatArray]:
    """The vector of every distinct text, by text."""
    distinct = list(dict.fromkeys(texts))
    vectors: dict[str, FloatArray] = {}
    for start in range(0, len(distinct), batch):
        some = distinct[start : start + batch]
        vectors.update(zip(some, await embed(some), strict=True))
    return vectors


def _numbers(text: str) -> frozenset[str]:
    return frozenset(number.replace(",", "") for number in _NUMBER.findall(text))
