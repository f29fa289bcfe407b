"""The in-memory twin of a reranker: the share of the question's words that a passage has."""

from collections.abc import Sequence

from backends.stemming import stems

_LANGUAGE = "english"


class SharedWordsReranker:
    """Counts words, without their endings."""

    async def start(self) -> None:
        """There is nothing to load."""

    async def score(self, question: str, passages: Sequence[str]) -> list[float]:
        asked = set(stems(question, _LANGUAGE))
        return [len(asked & set(stems(passage, _LANGUAGE))) / max(1, len(asked)) for passage in passages]

    async def close(self) -> None:
        """There is nothing to free."""
