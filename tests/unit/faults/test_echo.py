from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from faults.chain import CHAIN, Wish, ask
from faults.echo import BATCHED, Echo, duration_ms, make_stage, question_of
from faults.traps import Traps
from schemas.codec import encode
from schemas.events import Answered, Event, QueryAsked
from schemas.headers import Headers, Origin
from topics.specs import TOPIC_OF_EVENT
from workers.runtime.stage import BatchedStage, Delivery, Outcome, PoisonError, Produce, RetryableError


def delivery(event: Event, attempt: int = 1) -> Delivery[Any]:
    origin = Origin(TOPIC_OF_EVENT[type(event)].name, 0, 0)
    return Delivery("key", event, Headers(), origin, datetime(2026, 1, 1, tzinfo=UTC), attempt)


def echo(stage: str, folder: Path) -> Echo:
    made = make_stage(stage, Traps(folder, stage, f"{stage}-1"))
    assert isinstance(made, BatchedStage) == (stage in BATCHED)
    assert isinstance(made, Echo)
    return made


async def run_until(stage: str, wish: Wish | None, folder: Path, attempt: int = 1) -> Outcome:
    """What the stage makes of a question that comes through the stages before it."""
    event: Event = QueryAsked(question=ask("why?", wish, stage))
    for step in CHAIN:
        outcome = await echo(step.stage, folder).work(delivery(event, attempt))
        if step.stage == stage:
            return outcome
        assert isinstance(outcome, Produce)
        (event,) = outcome.events
        assert TOPIC_OF_EVENT[type(event)] is step.target
        assert question_of(event) == ask("why?", wish, stage)
    raise AssertionError(stage)


async def test_a_question_is_echoed_from_stage_to_stage(tmp_path: Path) -> None:
    outcome = await run_until("generation", None, tmp_path)
    assert isinstance(outcome, Produce)
    (answered,) = outcome.events
    assert isinstance(answered, Answered)
    assert answered.answer == "why?"


async def test_work_done_again_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = [await run_until("retrieval", None, tmp_path) for _ in range(2)]
    assert isinstance(first, Produce)
    assert isinstance(second, Produce)
    assert encode(first.events[0]) == encode(second.events[0])


@pytest.mark.parametrize("step", CHAIN, ids=lambda step: step.stage)
async def test_each_stage_does_what_a_question_wants(step: Any, tmp_path: Path) -> None:
    assert isinstance(await run_until(step.stage, "poison", tmp_path), PoisonError)
    assert isinstance(await run_until(step.stage, "flaky", tmp_path), RetryableError)
    assert isinstance(await run_until(step.stage, "flaky", tmp_path, attempt=2), Produce)
    huge = await run_until(step.stage, "huge", tmp_path)
    assert isinstance(huge, Produce)
    assert len(encode(huge.events[0]) or b"") > step.target.max_message_bytes


def test_a_few_requests_take_much_longer_than_the_rest() -> None:
    durations = [duration_ms(f"key-{number}") for number in range(1000)]
    assert 20 < sum(duration == 200 for duration in durations) < 100
    assert max(duration for duration in durations if duration < 200) <= 10
