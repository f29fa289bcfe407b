from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.evaluation.citations import citation_scores, relevant_citations
from replay.evaluation.sentences import Sentence, sentences


class WordSupport:
    """A text supports the words that it holds."""

    label = "words"

    def holds(self, sentence: str, texts: Sequence[str]) -> bool:
        return bool(texts) and set(sentence.split()) <= set(" ".join(texts).split())


SOURCES = {1: "a b", 2: "c d", 3: "a"}


@pytest.mark.parametrize(
    ("cited", "precision", "recall", "unsupported"),
    [
        ([Sentence("a b", (1,))], 1, 1, 0),
        ([Sentence("a b", (2,))], 0, 0, 0),
        # Neither supports it alone, both together do: each is needed.
        ([Sentence("a c", (1, 2))], 1, 1, 0),
        # The first alone supports it, the second is in excess.
        ([Sentence("a b", (1, 2))], 0.5, 1, 0),
        ([Sentence("a", (1, 3))], 1, 1, 0),
        ([Sentence("a b", ()), Sentence("x", (1,))], 0, 0, 0.5),
        ([Sentence("a b", (1, 9))], 0.5, 1, 0),
        ([Sentence("a b", (9,))], 0, 0, 0),
        ([Sentence("a b", ())], None, 0, 0),
        ([], None, None, None),
    ],
)
def test_citations_judged_by_hand(
    cited: list[Sentence], precision: float | None, recall: float | None, unsupported: float | None
) -> None:
    assert citation_scores(cited, SOURCES, WordSupport()) == (precision, recall, unsupported)


LETTERS = st.lists(st.sampled_from("abcd"), min_size=1, max_size=3).map(" ".join)


@given(
    st.lists(st.builds(Sentence, LETTERS, st.lists(st.integers(1, 4), unique=True, max_size=3).map(tuple)), max_size=4),
    st.dictionaries(st.integers(1, 3), LETTERS),
)
def test_shares_lie_between_0_and_1_and_agree(found: list[Sentence], sources: dict[int, str]) -> None:
    precision, recall, unsupported = citation_scores(found, sources, WordSupport())
    for share in (precision, recall, unsupported):
        assert share is None or 0 <= share <= 1
    if recall is not None and unsupported is not None:
        # What the cited sources support, all sources together support.
        assert recall <= 1 - unsupported + 1e-12
        assert precision is None or recall > 0 or precision == 0


def test_citations_against_qrels() -> None:
    assert relevant_citations({"a", "b"}, {"a", "c", "d"}, {"a", "b", "c"}) == (0.5, 0.5)
    assert relevant_citations(set(), {"a"}, {"a"}) == (None, 0)
    assert relevant_citations({"b"}, {"a"}, {"b"}) == (0, None)


def test_an_answers_own_sentences_are_judged() -> None:
    assert citation_scores(sentences("a b [1]. c x [2]."), {1: "a b.", 2: "c d."}, WordSupport()) == (0.5, 0.5, 0.5)
