"""What to do after a failure: a pure decision."""

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias

from workers.runtime.settings import RuntimeSettings
from workers.runtime.stage import PoisonError, RejectedError, RetryableError, StageError, UnavailableError


@dataclass(frozen=True, slots=True)
class RetryAfter:
    """Try again after so many seconds."""

    delay_s: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """End it with ``error``; with ``dead_letter`` the record is kept for people to look at."""

    error: StageError
    dead_letter: bool


@dataclass(frozen=True, slots=True)
class Expire:
    """The deadline has passed."""


Decision: TypeAlias = RetryAfter | GiveUp | Expire


def as_stage_error(error: Exception) -> StageError:
    """What a stage raised, as a stage error: an unforeseen exception may be a passing one, so it is tried again."""
    if isinstance(error, StageError):
        return error
    return RetryableError("unexpected_error", f"{type(error).__name__}: {error}"[:1000])


def decide(
    error: StageError,
    attempt: int,
    deadline_at: datetime | None,
    now: datetime,
    settings: RuntimeSettings,
    rng: random.Random,
) -> Decision:
    """Decide by the error's kind, the attempts so far (from 1) and the deadline.

    Backoff doubles from ``backoff_initial_ms`` up to ``backoff_max_ms`` with full jitter: a uniform draw between
    zero and that bound, as in "Exponential Backoff And Jitter" (Marc Brooker, AWS Architecture Blog, 2015).
    """
    if isinstance(error, RejectedError):
        return GiveUp(error, dead_letter=False)
    if not isinstance(error, RetryableError) or isinstance(error, PoisonError):
        return GiveUp(error, dead_letter=True)
    if deadline_at is not None and now >= deadline_at:
        return Expire()
    if not isinstance(error, UnavailableError) and attempt >= settings.max_attempts:
        return GiveUp(error, dead_letter=True)
    bound_ms = min(settings.backoff_max_ms, settings.backoff_initial_ms * 2 ** min(attempt - 1, 30))
    delay_s = rng.uniform(0, bound_ms) / 1000
    if deadline_at is not None and now + timedelta(seconds=delay_s) > deadline_at:
        delay_s = (deadline_at - now).total_seconds()
    return RetryAfter(delay_s)
