import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.messages import Delta
from bridge.openai.steady import RestartedError, SteadyText


def delta(text: str, attempt: int = 1) -> Delta:
    return Delta(request_id="r", id="1", attempt=attempt, sequence=0, text=text)


def test_a_higher_attempt_goes_on_where_it_repeats_what_was_sent() -> None:
    text = SteadyText()
    said = [text.take(delta(piece)) for piece in ("It is ", "blue")]
    said += [text.take(delta(piece, attempt=2)) for piece in ("It", " is bl", "ue, of", " course")]
    assert said == ["It is ", "blue", "", "", ", of", " course"]
    assert text.finish("It is blue, of course.") == "."


@pytest.mark.parametrize("piece", ["No", "It was", "It is blue"])
def test_one_that_says_something_else_cannot_go_on(piece: str) -> None:
    text = SteadyText()
    text.take(delta("It is green"))
    with pytest.raises(RestartedError):
        text.take(delta(piece + "!", attempt=2))


def test_the_whole_answer_must_begin_with_what_was_sent() -> None:
    text = SteadyText()
    text.take(delta("It is green"))
    for answer in ("It is", "It is blue", ""):
        with pytest.raises(RestartedError):
            text.finish(answer)
    assert text.finish("It is green") == ""


@given(st.text(max_size=60), st.lists(st.integers(0, 60), max_size=12), st.integers(1, 3))
def test_however_often_the_same_text_is_begun_anew_it_is_sent_once(answer: str, cuts: list[int], attempts: int) -> None:
    text, sent = SteadyText(), ""
    for attempt in range(1, attempts + 1):
        ends = sorted({min(cut, len(answer)) for cut in cuts})
        for start, end in zip([0, *ends], ends, strict=False):
            sent += text.take(delta(answer[start:end], attempt))
    assert sent + text.finish(answer) == answer
