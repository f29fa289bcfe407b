import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.evaluation.answer_text import contains, exact_match, token_f1, tokens

TEXTS = st.text(max_size=60) | st.lists(st.sampled_from(["the", "cat", "sat", "[1]", "on", "mats."])).map(" ".join)
GOLD = st.lists(TEXTS, min_size=1, max_size=3)


@pytest.mark.parametrize(
    ("answer", "gold", "same", "f1", "holds"),
    [
        # By hand: {cat, sat, on, mat} and {cat, sat} share 2: 2·2 / (4 + 2).
        ("The cat sat on a mat.", ["cat sat"], 0, 2 / 3, 1),
        ("The Cat [1].", ["cat"], 1, 1, 1),
        ("It concatenates.", ["cat"], 0, 0, 0),
        ("sat cat", ["cat sat"], 0, 1, 0),
        ("in 1,969", ["1969"], 0, 2 / 3, 1),
        ("a dog", ["cat", "the dog"], 1, 1, 1),
        ("", ["cat"], 0, 0, 0),
        # cat twice is shared twice at most: 2·2 / (3 + 2).
        ("cat cat cat", ["cat cat"], 0, 0.8, 1),
    ],
)
def test_answers_compared_by_hand(answer: str, gold: list[str], same: float, f1: float, holds: float) -> None:
    assert exact_match(answer, gold) == same
    assert token_f1(answer, gold) == pytest.approx(f1)
    assert contains(answer, gold) == holds


@given(TEXTS, GOLD)
def test_measures_lie_between_0_and_1_and_agree(answer: str, gold: list[str]) -> None:
    same, f1, holds = exact_match(answer, gold), token_f1(answer, gold), contains(answer, gold)
    assert same in {0, 1}
    assert holds in {0, 1}
    assert 0 <= f1 <= 1
    # What is the same shares every word and contains it.
    assert same <= f1 + 1e-12
    assert same <= holds


@given(TEXTS, TEXTS)
def test_f1_does_not_care_which_is_the_answer(one: str, other: str) -> None:
    assert token_f1(one, [other]) == pytest.approx(token_f1(other, [one]))


@given(TEXTS, GOLD, TEXTS)
def test_another_right_answer_never_makes_it_worse(answer: str, gold: list[str], more: str) -> None:
    for measure in (exact_match, token_f1, contains):
        assert measure(answer, [*gold, more]) >= measure(answer, gold)


@given(TEXTS)
def test_an_answer_is_right_where_it_is_the_right_one(answer: str) -> None:
    assert exact_match(answer, [answer]) == token_f1(answer, [answer]) == contains(answer, [answer]) == 1


@given(TEXTS)
def test_citations_do_not_count(answer: str) -> None:
    assert tokens(f"{answer} [1] [2, 3]") == tokens(answer)
