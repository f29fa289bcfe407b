from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.evaluation.support import EmbeddingSupport, LexicalSupport, embedded
from schemas.values import FloatArray

PASSAGE = "The library opens at 9 in the morning and closes at 18:30. On Sundays it stays closed."


@pytest.mark.parametrize(
    ("sentence", "holds"),
    [
        ("The library opens at 9.", True),
        ("It is closed on Sundays.", True),
        ("Libraries open in the mornings.", True),
        ("The library opens at 8.", False),
        ("The museum shows paintings of the sea.", False),
        ("It is so.", False),
    ],
)
def test_words_and_numbers_support(sentence: str, *, holds: bool) -> None:
    assert LexicalSupport().holds(sentence, [PASSAGE]) is holds


@given(st.text(min_size=1, max_size=80), st.lists(st.text(max_size=80), max_size=3))
def test_a_text_supports_itself_and_more_texts_never_less(sentence: str, others: list[str]) -> None:
    support = LexicalSupport()
    assert support.holds(sentence, [sentence])
    assert not support.holds(sentence, [])
    if support.holds(sentence, others):
        assert support.holds(sentence, [*others, "more"])


async def test_vectors_support() -> None:
    axes = {"Blue is the sky.": (1, 0), "Grass is green.": (0, 1), "The sky is blue": (0.8, 0.6)}
    calls = []

    async def embed(texts: Sequence[str]) -> FloatArray:
        calls.append(len(texts))
        return np.array([axes[text] for text in texts], dtype=np.float32)

    vectors = await embedded([*axes, *axes], embed, batch=2)
    assert calls == [2, 1]
    support = EmbeddingSupport(vectors, "small", threshold=0.7)
    assert support.holds("The sky is blue", ["Grass is green. Blue is the sky."])
    assert not support.holds("The sky is blue", ["Grass is green."])
    assert not support.holds("The sky is blue", [])
    assert "small" in support.label
