"""Asks questions from Python, over Kafka and, for tokens as they come, the live view.

>>> async with Client() as client:
...     answer = await client.ask("What does the yield expression do?")
...     print(answer.text)
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

import structlog
import uuid_utils
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from backends.errors import BackendUnavailableError
from backends.kafka import partitions_of, stop_consumer
from backends.live_view import LiveView, stream_of
from backends.redis_live_view import RedisLiveView
from ragline.answers import Answer, Progress, Reader, RequestError, Restart, Sources, Token, Update, conclude, terminal
from ragline.settings import Settings, load
from schemas import codec
from schemas.events import CancellationRequested, Event, QueryAsked, Terminal
from schemas.headers import Headers, StageTime, derive_id
from topics.specs import ANSWERS, CONTROL, QUERIES, TopicSpec

__all__ = ["Answer", "Client", "Progress", "RequestError", "Restart", "Sources", "Token", "Update"]

log = structlog.get_logger(__name__)

# The last tokens are in the live view before the answer is in Kafka; a reader needs a moment to get them.
_TAIL_S = 1.0
_CONNECT_TIMEOUT_S = 15.0

_Ending = tuple[Terminal, tuple[StageTime, ...]]


class Client:
    """Produces questions and waits for their answers; use it as an asynchronous context manager.

    One client may have many questions under way. The answer itself always comes from Kafka: without the live view,
    ``stream`` gives it in one piece.

    Raises:
        ConnectionError: on entering, when Kafka does not answer or the topics are missing.
    """

    def __init__(self, settings: Settings | None = None, *, live_view: LiveView | None = None) -> None:
        settings = (settings or load()).with_local_addresses()
        self._names = settings.names
        self._kafka = settings.kafka
        self._default_tenant = settings.query.default_tenant
        self._live_view = live_view or RedisLiveView(settings.redis, settings.names)
        options = settings.kafka.client_options()
        self._producer = AIOKafkaProducer(
            **options, enable_idempotence=True, max_request_size=QUERIES.max_message_bytes
        )
        self._consumer = AIOKafkaConsumer(**options, enable_auto_commit=False, isolation_level="read_committed")
        self._waiting: dict[str, asyncio.Future[_Ending]] = {}
        self._reading: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                await self._producer.start()
                await self._consumer.start()
                await self._watch_answers()
        except (KafkaError, TimeoutError) as error:
            await self.close()
            servers = self._kafka.bootstrap_servers
            raise ConnectionError(f"Kafka at {servers} does not answer; is it running (ragline up)?") from error
        except ConnectionError:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Disconnect. Questions under way go on without us."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait({self._reading})
        for waiting in self._waiting.values():
            waiting.cancel()
        await stop_consumer(self._consumer)
        await self._producer.stop()
        await self._live_view.close()

    async def ask(self, question: str, *, request_id: str | None = None, **options: Any) -> Answer:
        """Ask and wait for the whole answer. ``options`` are the fields of ``QueryAsked``.

        With the ``request_id`` of an earlier question, its answer is given, as long as the live view has it.

        Raises:
            RequestError: the request failed, expired or was cancelled.
            ConnectionError: the question could not be sent; it may be sent again with the same ``request_id``.
        """
        async for update in self.stream(question, request_id=request_id, **options):
            if isinstance(update, Answer):
                return update
        raise AssertionError("a stream ends with the answer or raises")

    async def stream(self, question: str, *, request_id: str | None = None, **options: Any) -> AsyncIterator[Update]:
        """Ask and give what happens as it happens; the last update is the ``Answer``.

        After a ``Restart`` the tokens before it are void. Raises as ``ask`` does.
        """
        request_id = request_id or str(uuid_utils.uuid7())
        reader = Reader()
        with self._ending_of(request_id) as ending:
            await self._send(request_id, QueryAsked(question=question, **options))
            stream = stream_of(options.get("tenant") or self._default_tenant, request_id)
            async for update in self._live(stream, reader, ending):
                yield update
            answer = conclude(*await ending)
            for update in reader.finish(answer.text):
                yield update
            yield answer

    async def cancel(self, request_id: str, reason: str | None = None) -> None:
        """Ask every worker to stop work on a request: it ends as cancelled, unless it has ended already.

        Returns once Kafka has the cancellation. Whoever waits for the request gets a ``RequestError``, code
        ``cancelled``.

        Raises:
            ConnectionError: the cancellation could not be sent.
        """
        event = CancellationRequested(request_id=request_id, reason=reason)
        try:
            await self._produce(CONTROL, request_id, event, str(uuid_utils.uuid7()))
        except KafkaError as error:
            raise ConnectionError(f"Kafka did not take the cancellation of {request_id}: {error}") from error

    async def _live(self, stream: str, reader: Reader, ending: asyncio.Future[_Ending]) -> AsyncIterator[Update]:
        """Updates from the live view, until its end, its failure, or a moment after the answer came from Kafka."""
        updates: asyncio.Queue[Update | None] = asyncio.Queue()

        async def follow() -> None:
            try:
                async for stored in self._live_view.follow(stream):
                    if stored.entry.kind == "terminal":
                        if not ending.done():
                            ending.set_result(terminal(stored.entry))
                        return
                    for update in reader.read(stored.entry):
                        updates.put_nowait(update)
            except BackendUnavailableError as error:
                log.warning("no live view; the answer will come in one piece", reason=str(error))
            finally:
                updates.put_nowait(None)

        following = asyncio.create_task(follow())

        def give_up_soon(_: asyncio.Future[_Ending]) -> None:
            asyncio.get_running_loop().call_later(_TAIL_S, following.cancel)

        ending.add_done_callback(give_up_soon)
        try:
            while (update := await updates.get()) is not None:
                yield update
        finally:
            following.cancel()
            await asyncio.wait({following})

    @contextlib.contextmanager
    def _ending_of(self, request_id: str) -> Any:
        ending: asyncio.Future[_Ending] = asyncio.get_running_loop().create_future()
        self._waiting[request_id] = ending
        try:
            yield ending
        finally:
            self._waiting.pop(request_id, None)
            ending.cancel()

    async def _send(self, request_id: str, event: QueryAsked) -> None:
        try:
            await self._produce(QUERIES, request_id, event, derive_id("query", request_id))
        except MessageSizeTooLargeError as error:
            size = len(event.question.encode())
            message = f"the question has {size} bytes, more than a record of {QUERIES.name} takes"
            raise RequestError(request_id, "question_too_large", message) from error
        except KafkaError as error:
            raise ConnectionError(f"Kafka did not take the question {request_id}: {error}") from error

    async def _produce(self, spec: TopicSpec, request_id: str, event: Event, event_id: str) -> None:
        headers = Headers(
            id=event_id, type=event.TYPE, source="ragline/client", time=datetime.now(UTC), subject=request_id
        )
        await self._producer.send_and_wait(
            self._names.topic(spec), codec.encode(event), key=request_id.encode(), headers=headers.encode()
        )

    async def _watch_answers(self) -> None:
        topic = self._names.topic(ANSWERS)
        assigned = await partitions_of(self._consumer, topic)
        if not assigned:
            raise ConnectionError(f"topic {topic} is missing; create the topics with: ragline topics apply")
        self._consumer.assign(assigned)
        await self._consumer.seek_to_end(*assigned)
        for tp in assigned:
            # Positions must be fixed before the first question goes out, or its answer could be missed.
            await self._consumer.position(tp)
        self._reading = asyncio.create_task(self._read_answers())

    async def _read_answers(self) -> None:
        while True:
            try:
                fetched = await self._consumer.getmany(timeout_ms=1000)
            except KafkaError as error:
                log.warning("answers cannot be read, trying again", reason=str(error) or repr(error))
                await asyncio.sleep(1)
                continue
            for records in fetched.values():
                for record in records:
                    waiting = self._waiting.get((record.key or b"").decode("utf-8", "replace"))
                    if waiting is None or waiting.done():
                        continue
                    headers = Headers.decode(record.headers)
                    try:
                        event = codec.decode(record.value, headers.type, ANSWERS.events)
                    except codec.UndecodableError as error:
                        waiting.set_exception(error)
                        continue
                    assert isinstance(event, Terminal)  # noqa: S101 - the topic holds nothing else
                    waiting.set_result((event, headers.timeline))
