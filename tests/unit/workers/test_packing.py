from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from schemas.values import Passage, Source
from workers.packing import pack

OVERHEAD = 5


def passage(text: str, rank: int = 0) -> Passage:
    return Passage(
        chunk_id=f"c{rank}", document_id="d", title="Title", text=text, source="", ordinal=rank, score=1 - rank / 100
    )


def words(sources: Sequence[Source]) -> int:
    """What the prompt costs: a word is a token, a passage has a line of its own."""
    return OVERHEAD + sum(1 + len(source.passage.text.split()) for source in sources)


texts = st.lists(st.text(alphabet="ab \n", min_size=1, max_size=60), max_size=8)


@given(texts, st.integers(min_value=0, max_value=60))
def test_packing_keeps_the_budget_the_order_and_the_best(found: list[str], budget: int) -> None:
    passages = [passage(text, rank) for rank, text in enumerate(found)]
    sources = pack(passages, budget, words)
    assert not sources or words(sources) <= budget
    assert [source.number for source in sources] == list(range(1, len(sources) + 1))
    ranks = [source.passage.ordinal for source in sources]
    assert ranks == sorted(set(ranks))
    if sources:
        assert ranks[0] == 0
    for source in sources[1:]:
        assert source.passage in passages


def test_everything_fits() -> None:
    passages = [passage("one two", 0), passage("three", 1)]
    assert [source.passage for source in pack(passages, 100, words)] == passages


def test_a_passage_that_does_not_fit_is_passed_over() -> None:
    passages = [passage("one two", 0), passage("long " * 50, 1), passage("three", 2)]
    sources = pack(passages, 20, words)
    assert [(source.number, source.passage.ordinal) for source in sources] == [(1, 0), (2, 2)]


def test_the_best_is_cut_at_the_end_of_a_word() -> None:
    sources = pack([passage("alpha beta gamma delta epsilon", 0), passage("zeta", 1)], 9, words)
    # The ellipsis is a word of its own here.
    assert [source.passage.text for source in sources] == ["alpha beta …"]
    assert words(sources) == 9


def test_nothing_fits() -> None:
    assert pack([passage("one two three", 0), passage("x", 1)], 5, words) == ()
    assert pack([], 100, words) == ()
