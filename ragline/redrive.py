"""Redrives and drops dead letters: each once, whatever crashes in between.

A redriven record and the audit record that says so are in one Kafka transaction. There is one transactional.id for all
runs: starting ends what an earlier run left open and shuts out one that still works. Only then are the audit records
read that say which letters are done.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError, RecordListTooLargeError
from aiokafka.structs import ConsumerRecord

from backends.kafka import KafkaSettings
from ragline import letters
from ragline.dead_letters import CONNECT_TIMEOUT_S, DeadLetters, answering
from ragline.letters import Filter, Letter, Marks
from schemas import codec
from schemas.events import DeadLetterEvent
from schemas.headers import Headers, derive_id
from topics.names import Namespace
from topics.specs import DEAD_LETTERS_AUDIT, DEAD_LETTERS_HEADROOM_BYTES, TOPICS

_TRANSACTION_RECORDS = 100
_TRANSACTION_BYTES = 8 * 1024 * 1024
_LARGEST_RECORD = max(spec.max_message_bytes for spec in TOPICS) + DEAD_LETTERS_HEADROOM_BYTES
_TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)


@dataclass(slots=True)
class Outcome:
    """What became of letters: ``done`` were redriven or dropped, ``refused`` stay as they are, each with the reason."""

    done: int = 0
    refused: list[tuple[Letter, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Step:
    """What is done to a letter, as records: what to say of it, and for a redrive the record itself."""

    letter: Letter
    records: tuple[dict[str, Any], ...]


class Clerk:
    """Redrives and drops letters; an asynchronous context manager. One works at a time: a later one shuts it out.

    ``by`` is who does it; ``report`` sees the outcome grow.

    Raises:
        DeadLettersError: from any call, when Kafka does not answer or another clerk has begun.
    """

    def __init__(
        self, kafka: KafkaSettings, names: Namespace, by: str, report: Callable[[Outcome], None] = lambda _: None
    ) -> None:
        self._kafka = kafka
        self._names = names
        self._by = by
        self._report = report
        self._reader = DeadLetters(kafka, names)
        self._producer = self._make_producer()
        self._marks: Marks = {}
        self._outcome = Outcome()
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(self._stop_producer)
            with answering(self._kafka.bootstrap_servers):
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    await self._producer.start()
            await stack.enter_async_context(self._reader)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def redrive(self, wanted: Filter, time_left: timedelta, rate: float | None = None) -> Outcome:
        """Put open letters back into their topics, at most ``rate`` a second; then requests have ``time_left``."""
        limit = _TRANSACTION_RECORDS if rate is None else max(1, min(_TRANSACTION_RECORDS, int(rate)))
        pace = _Pace(rate)
        batch: list[tuple[Letter, ConsumerRecord]] = []

        async def commit() -> None:
            await pace.wait(len(batch))
            await self._commit([self._redriving(letter, record, time_left) for letter, record in batch])
            batch.clear()

        with answering(self._kafka.bootstrap_servers):
            async with contextlib.aclosing(self._reader.fetch(await self._find_open(wanted))) as found:
                async for letter, record in found:
                    batch.append((letter, record))
                    size = sum(len(record.value or b"") for _, record in batch)
                    if len(batch) >= limit or size >= _TRANSACTION_BYTES:
                        await commit()
            if batch:
                await commit()
        return self._outcome

    async def drop(self, wanted: Filter, reason: str | None = None) -> Outcome:
        """Say of open letters that nobody will do anything about them."""
        with answering(self._kafka.bootstrap_servers):
            found = await self._find_open(wanted)
            for index in range(0, len(found), _TRANSACTION_RECORDS):
                at = datetime.now(UTC)
                marks = [
                    (letter, letters.dropped(letter, self._by, at, reason))
                    for letter in found[index : index + _TRANSACTION_RECORDS]
                ]
                await self._commit([_Step(letter, (self._said(mark),)) for letter, mark in marks])
        return self._outcome

    async def _find_open(self, wanted: Filter) -> list[Letter]:
        """Each open letter once: at least once means that a worker may have written it twice."""
        found = await self._reader.find(replace(wanted, state="open"))
        return list({letter.id: letter for letter in reversed(found)}.values())[::-1]

    # --- records ----------------------------------------------------------------------------------------

    def _redriving(self, letter: Letter, record: ConsumerRecord, time_left: timedelta) -> _Step:
        at = datetime.now(UTC)
        again = {
            "topic": self._names.topic(letter.spec),
            "partition": self._reader.partition_of(letter),
            "key": record.key,
            "value": record.value,
            "headers": letters.redriven_headers(letter, record.headers, self._by, at, time_left),
        }
        return _Step(letter, (again, self._said(letters.redriven(letter, self._by, at))))

    def _said(self, mark: DeadLetterEvent) -> dict[str, Any]:
        headers = Headers(
            id=derive_id(mark.TYPE, mark.letter_id),
            type=mark.TYPE,
            source="ragline/dead-letters",
            time=mark.at,
            subject=mark.letter_id,
        )
        return {
            "topic": self._names.topic(DEAD_LETTERS_AUDIT),
            "key": mark.letter_id.encode(),
            "value": codec.encode(mark),
            "headers": headers.encode(),
        }

    # --- transactions -----------------------------------------------------------------------------------

    async def _commit(self, steps: Sequence[_Step]) -> None:
        """Take all steps or none; where a record is too large for its topic, the others."""
        steps = [step for step in steps if step.letter.id not in self._marks]
        if not steps:
            return
        try:
            async with self._producer.transaction():
                await self._send([record for step in steps for record in step.records])
        except _TOO_LARGE as error:
            await self._begin_anew()
            if len(steps) == 1:
                self._outcome.refused.append((steps[0].letter, str(error) or "too large for its topic"))
            else:
                for step in steps:
                    await self._commit([step])
            return
        self._outcome.done += len(steps)
        self._report(self._outcome)

    async def _send(self, records: Sequence[dict[str, Any]]) -> None:
        futures: list[asyncio.Future[Any]] = []
        try:
            futures += [await self._producer.send(**record) for record in records]
        finally:
            results = await asyncio.gather(*futures, return_exceptions=True)
        errors = [result for result in results if isinstance(result, BaseException)]
        # One refused record makes the whole transaction fail, the others with errors that say less.
        for error in sorted(errors, key=lambda error: not isinstance(error, _TOO_LARGE)):
            raise error

    async def _begin_anew(self) -> None:
        """Start the producer again: aiokafka counts the sequence numbers of a refused batch as used.

        Another clerk may have worked in between; what it did is done.
        """
        await self._stop_producer()
        self._producer = self._make_producer()
        await self._producer.start()
        async with DeadLetters(self._kafka, self._names) as reader:
            self._marks = await reader.marks()

    def _make_producer(self) -> AIOKafkaProducer:
        return AIOKafkaProducer(
            **self._kafka.client_options(),
            transactional_id=self._names.of("ragline.dead-letters"),
            max_request_size=_LARGEST_RECORD,
        )

    async def _stop_producer(self) -> None:
        await self._producer.stop()


class _Pace:
    """Lets so many through in a second; no limit without a rate."""

    def __init__(self, rate: float | None) -> None:
        self._rate = rate
        self._next_s = time.monotonic()

    async def wait(self, count: int) -> None:
        if self._rate is not None:
            await asyncio.sleep(self._next_s - time.monotonic())
            self._next_s = max(self._next_s, time.monotonic()) + count / self._rate
