import random
from datetime import UTC, datetime, timedelta

import pytest

from workers.runtime.retry import Expire, GiveUp, RetryAfter, as_stage_error, decide
from workers.runtime.settings import RuntimeSettings
from workers.runtime.stage import PoisonError, RejectedError, RetryableError, UnavailableError

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SETTINGS = RuntimeSettings(max_attempts=3, backoff_initial_ms=100, backoff_max_ms=1000)
RNG = random.Random(1)


def test_rejected_is_final_without_a_dead_letter() -> None:
    error = RejectedError("empty_question", "The question is empty.")
    assert decide(error, 1, None, NOW, SETTINGS, RNG) == GiveUp(error, dead_letter=False)


def test_poison_is_final_with_a_dead_letter() -> None:
    error = PoisonError("undecodable", "not JSON")
    assert decide(error, 1, None, NOW, SETTINGS, RNG) == GiveUp(error, dead_letter=True)


def test_retryable_ends_after_the_last_attempt() -> None:
    error = RetryableError("flaky", "again")
    assert isinstance(decide(error, 2, None, NOW, SETTINGS, RNG), RetryAfter)
    assert decide(error, 3, None, NOW, SETTINGS, RNG) == GiveUp(error, dead_letter=True)


def test_unavailable_is_held_back_until_the_deadline() -> None:
    error = UnavailableError("milvus_down", "Milvus does not answer")
    deadline_at = NOW + timedelta(hours=1)
    assert isinstance(decide(error, 5000, deadline_at, NOW, SETTINGS, RNG), RetryAfter)
    assert decide(error, 5000, deadline_at, deadline_at, SETTINGS, RNG) == Expire()


@pytest.mark.parametrize("attempt", [1, 2, 3, 10, 10_000])
def test_backoff_doubles_up_to_its_bound_with_full_jitter(attempt: int) -> None:
    error = UnavailableError("down", "down")
    delays = [decide(error, attempt, None, NOW, SETTINGS, random.Random(seed)) for seed in range(300)]
    bound = min(1.0, 0.1 * 2 ** min(attempt - 1, 20))
    seconds = [delay.delay_s for delay in delays if isinstance(delay, RetryAfter)]
    assert len(seconds) == 300
    assert 0 <= min(seconds) < bound * 0.1
    assert bound * 0.9 < max(seconds) <= bound


def test_no_wait_goes_past_the_deadline() -> None:
    error = UnavailableError("down", "down")
    decision = decide(error, 20, NOW + timedelta(milliseconds=1), NOW, SETTINGS, random.Random(2))
    assert isinstance(decision, RetryAfter)
    assert decision.delay_s <= 0.001


def test_an_unforeseen_exception_is_tried_again() -> None:
    error = as_stage_error(KeyError("x"))
    assert isinstance(error, RetryableError)
    assert "KeyError" in str(error)
