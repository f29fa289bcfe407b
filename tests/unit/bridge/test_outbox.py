from collections import defaultdict

import orjson
from hypothesis import given
from hypothesis import strategies as st

from bridge.messages import Delta, Problem, Progress, ServerMessage
from bridge.outbox import Outbox


def delta(request_id: str, sequence: int, text: str, attempt: int = 1) -> Delta:
    return Delta(request_id=request_id, id=f"{sequence}-0", attempt=attempt, sequence=sequence, text=text)


def drained(outbox: Outbox) -> list[dict[str, object]]:
    return [orjson.loads(outbox.take()[1]) for _ in range(len(outbox))]


def test_deltas_that_wait_become_one_with_the_place_of_the_last() -> None:
    outbox = Outbox(10, 1_000_000)
    for sequence, text in enumerate("abc"):
        outbox.put(delta("r", sequence, text))
    [merged] = drained(outbox)
    assert (merged["text"], merged["sequence"], merged["id"]) == ("abc", 2, "2-0")


def test_nothing_is_merged_over_another_message_of_the_request_or_another_attempt() -> None:
    outbox = Outbox(10, 1_000_000)
    outbox.put(delta("r", 0, "a"))
    outbox.put(Progress(request_id="r", id="1-0", stage="s", started_ms=1, finished_ms=2))
    outbox.put(delta("r", 1, "b"))
    outbox.put(delta("r", 0, "c", attempt=2))
    assert [message["kind"] for message in drained(outbox)] == ["delta", "progress", "delta", "delta"]


def test_it_is_full_by_messages_and_by_text() -> None:
    outbox = Outbox(2, 1_000)
    outbox.put(Problem(code="invalid_json", message="x"))
    assert not outbox.is_full
    outbox.put(delta("r", 0, "a"))
    assert outbox.is_full
    outbox.take()
    assert not outbox.is_full
    outbox.put(delta("r", 1, "x" * 1_000))
    assert outbox.is_full
    assert len(outbox) == 1


def test_a_merged_delta_does_not_grow_for_ever() -> None:
    outbox = Outbox(1_000, 10_000_000)
    for sequence in range(100):
        outbox.put(delta("r", sequence, "x" * 1_000))
    assert 5 < len(outbox) < 10


STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from("rs"), st.integers(1, 3), st.text("ab", max_size=3)),
        st.sampled_from(["take", "progress"]),
    ),
    max_size=60,
)


@given(STEPS)
def test_whatever_is_merged_each_request_gets_its_texts_in_order(steps: list[object]) -> None:
    outbox, sent, got = Outbox(1_000, 10**9), defaultdict[object, str](str), defaultdict[object, str](str)

    def take() -> None:
        message = orjson.loads(outbox.take()[1])
        if message["kind"] == "delta":
            got[message["request_id"], message["attempt"]] += message["text"]

    for sequence, step in enumerate(steps):
        if step == "take":
            if outbox:
                take()
            continue
        put: ServerMessage = Progress(request_id="r", id="1-0", stage="s", started_ms=1, finished_ms=2)
        if isinstance(step, tuple):
            request_id, attempt, text = step
            put = delta(request_id, sequence, text, attempt)
            sent[request_id, attempt] += text
        outbox.put(put)
    while outbox:
        take()
    assert {key: text for key, text in got.items() if text} == {key: text for key, text in sent.items() if text}
    assert not outbox.is_full
