from hypothesis import given
from hypothesis import strategies as st

from backends.stop_filter import StopFilter

texts = st.text(alphabet="ab.\n", max_size=40)
stops = st.lists(st.text(alphabet="ab.\n", min_size=1, max_size=4), max_size=3)


@given(st.lists(texts, max_size=8), stops)
def test_what_passes_is_a_beginning_without_any_stop(pieces: list[str], stops: list[str]) -> None:
    filtered = StopFilter(stops)
    passed = "".join(filtered.feed(piece) for piece in pieces) + filtered.flush()
    text = "".join(pieces)
    assert text.startswith(passed)
    assert all(stop not in passed for stop in stops)
    assert filtered.stopped == any(stop in text for stop in stops)
    assert filtered.stopped or passed == text


@given(st.lists(texts, max_size=8), st.text(alphabet="ab.", min_size=1, max_size=4))
def test_what_passes_ends_where_the_stop_begins(pieces: list[str], stop: str) -> None:
    filtered = StopFilter([stop])
    passed = "".join(filtered.feed(piece) for piece in pieces) + filtered.flush()
    assert passed == "".join(pieces).split(stop)[0]


def test_text_without_stops_passes_at_once() -> None:
    assert StopFilter(()).feed("text") == "text"


def test_what_may_become_a_stop_is_held_back() -> None:
    stops = StopFilter(("\n\n",))
    assert stops.feed("a\n") == "a"
    assert stops.feed("b") == "\nb"
    assert stops.feed("\n") == ""
    assert stops.feed("\nrest") == ""
    assert stops.stopped
    assert stops.flush() == ""
