import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.evaluation.sentences import Sentence, sentences, without_citations


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("", []),
        (
            "The sky is blue [1]. It scatters light [2][3].",
            [("The sky is blue.", (1,)), ("It scatters light.", (2, 3))],
        ),
        ("The sky is blue. [1] It rains. [1, 2]", [("The sky is blue.", (1,)), ("It rains.", (1, 2))]),
        ("It rains [2; 1; 2]", [("It rains", (2, 1))]),
        (
            "Dr. Smith, e.g. A. Smith, said 3.5 mm. True!",
            [("Dr. Smith, e.g. A. Smith, said 3.5 mm.", ()), ("True!", ())],
        ),
        ("- One [1]\n- Two [2]", [("One", (1,)), ("Two", (2,))]),
        ("1. One thing.\n2. Two things.", [("One thing.", ()), ("Two things.", ())]),
        ('He said "no." Then he left.', [('He said "no."', ()), ("Then he left.", ())]),
        ("天は青い。[1]雨が降る。", [("天は青い。", ()), ("雨が降る。", (1,))]),
        ("...", []),
        ("See [12345] and [x].", [("See [12345] and [x].", ())]),
    ],
)
def test_answers_cut_by_hand(answer: str, expected: list[tuple[str, tuple[int, ...]]]) -> None:
    assert sentences(answer) == [Sentence(text, cited) for text, cited in expected]


@given(st.text(alphabet="ab. !?\n[]12,-。", max_size=80))
def test_no_word_and_no_citation_is_lost(answer: str) -> None:
    found = sentences(answer)
    words = "".join(character for character in without_citations(answer) if character in "ab")
    assert "".join(character for sentence in found for character in sentence.text if character in "ab") == words
    if words:
        assert all(sentence.text == " ".join(sentence.text.split()) for sentence in found)
