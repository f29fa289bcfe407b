import pytest

from replay.evaluation.errors import EvaluationError
from replay.evaluation.refusal import refusal_pattern, refuses


@pytest.mark.parametrize(
    ("answer", "refused"),
    [
        ("I do not know.", True),
        ("I don't know the answer to that.", True),
        ("I don\u2019t know.", True),
        ("The passages do not mention any opening hours [1].", True),
        ("The given passages don't contain enough information.", True),
        ("There is no information about this.", True),
        ("I am unable to answer.", True),
        ("It cannot be determined from the passages.", True),
        ("Sorry, I cannot say.", True),
        ("Nothing was found that answers this question.", True),
        ("", True),
        ("[1]", True),
        ("The library does not open on Sundays [1].", False),
        ("A generator yields values. I do not know more.", False),
        ("Yield is not a statement.", False),
    ],
)
def test_refusals_are_known_by_their_words(answer: str, *, refused: bool) -> None:
    assert refuses(answer, "stop", refusal_pattern()) is refused


def test_what_found_nothing_refuses_and_another_pattern_may_be_given() -> None:
    assert refuses("Whatever.", "nothing_found", refusal_pattern())
    assert refuses("Keine Ahnung.", "stop", refusal_pattern("keine ahnung"))
    with pytest.raises(EvaluationError, match="is no regular expression"):
        refusal_pattern("(")
