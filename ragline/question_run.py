"""Asks a set of questions through the pipeline, and writes what comes of them as a run.

Killed and started again it goes on: questions have the same request IDs as before, of which the pipeline answers the
first, and reading begins where the topics ended when the run began.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import JsonValue

from ragline.gathering import Gathered, Gathering, Positions
from ragline.settings import Settings
from replay.evaluation.errors import EvaluationError
from replay.run_folder.from_events import answer_row, event_stamp, passage_rows, request_row, stamp_rows
from replay.run_folder.reader import Run
from replay.run_folder.rows import AnswerRow, RequestRow, Row
from replay.run_folder.writer import RunWriter
from schemas.events import PassagesRetrieved, PromptBuilt, QueryAsked, Terminal
from schemas.headers import derive_id
from topics.specs import ANSWERS, PASSAGES_RETRIEVED, PROMPTS_BUILT, QUERIES

IN_FLIGHT = 64
_CHECKPOINT_REQUESTS = 200
_CHECKPOINT_S = 10.0
# A request that fails in one of these has no passages to wait for; nor a prompt in the next.
_BEFORE_PASSAGES = frozenset({"query", "embedding", "retrieval"})


@dataclass(frozen=True)
class Questions:
    """Questions by query ID, and what is asked of each beside: fields of ``QueryAsked``."""

    texts: Mapping[str, str]
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class _Pieces:
    """What has come of a request so far."""

    query_id: str
    retrieved: PassagesRetrieved | None = None
    prompt: PromptBuilt | None = None
    ending: Gathered | None = None
    stamps: dict[str, str] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        if self.ending is None:
            return False
        stage = getattr(self.ending.event, "stage", None)
        if stage in _BEFORE_PASSAGES:
            return True
        without_prompt = stage == "prompt" or getattr(self.ending.event, "finish_reason", "") == "nothing_found"
        return self.retrieved is not None and (without_prompt or self.prompt is not None)


async def ask_all(
    settings: Settings,
    writer: RunWriter,
    questions: Questions,
    *,
    report: Callable[[int, int], None],
    timeout_s: float,
) -> None:
    """Ask every question that the run has no answer to yet, and finish the run; ``report`` sees ended and all.

    The writer's manifest must have a ``nonce`` in its position, which makes the run's request IDs its own.

    Raises:
        EvaluationError: no request ended for ``timeout_s`` seconds. What has ended is kept.
        ConnectionError: Kafka does not answer.
    """
    position = dict(writer.manifest.position)
    starts: Any = position.get("starts")
    specs = (PASSAGES_RETRIEVED, PROMPTS_BUILT, ANSWERS)
    async with Gathering(settings.kafka, settings.names, specs, "ragline/evaluate", starts) as gathering:
        if starts is None:
            await asyncio.to_thread(writer.checkpoint, {**position, "starts": _as_json(gathering.positions)})
        asking = _Asking(gathering, writer, questions, str(position["nonce"]), report)
        try:
            async with asyncio.TaskGroup() as tasks:
                sending = tasks.create_task(asking.send())
                await asking.follow(timeout_s)
                sending.cancel()
        except* EvaluationError as group:
            raise group.exceptions[0] from None
        except* ConnectionError as group:
            raise group.exceptions[0] from None
        finally:
            # What has ended is not asked again, whatever ended us.
            await asyncio.to_thread(writer.checkpoint)
    await asyncio.to_thread(writer.finish)


class _Asking:
    """One loop that sends, one that follows."""

    def __init__(
        self,
        gathering: Gathering,
        writer: RunWriter,
        questions: Questions,
        nonce: str,
        report: Callable[[int, int], None],
    ) -> None:
        self._gathering = gathering
        self._writer = writer
        self._questions = questions
        self._report = report
        self._room = asyncio.Semaphore(IN_FLIGHT)
        run = Run(writer.folder)
        ended = {row.request_id for row in run.rows(AnswerRow)}
        ids = {derive_id("evaluate", nonce, query_id): query_id for query_id in questions.texts}
        self._open = {request: _Pieces(query) for request, query in ids.items() if request not in ended}
        self._sent: set[str] = set()
        self._all = len(ids)

    async def send(self) -> None:
        for request_id, pieces in list(self._open.items()):
            await self._room.acquire()
            if request_id not in self._open:
                self._room.release()
                continue
            self._sent.add(request_id)
            event = QueryAsked(question=self._questions.texts[pieces.query_id], **self._questions.fields)
            await self._gathering.send(QUERIES, request_id, event, derive_id("query", request_id))

    async def follow(self, timeout_s: float) -> None:
        self._report(self._all - len(self._open), self._all)
        moved_at = saved_at = time.monotonic()
        unsaved = 0
        while self._open:
            whole = self._take(await self._gathering.read())
            now = time.monotonic()
            if whole:
                await asyncio.to_thread(self._writer.add, [row for request in whole for row in self._rows(*request)])
                unsaved += len(whole)
                moved_at = now
                self._report(self._all - len(self._open), self._all)
            elif now - moved_at > timeout_s:
                raise EvaluationError(
                    f"no request ended for {timeout_s:.0f} s, {len(self._open)} of {self._all} are open; see ragline "
                    "status. The same command goes on where this one ended"
                )
            if unsaved >= _CHECKPOINT_REQUESTS or (unsaved and now - saved_at > _CHECKPOINT_S):
                await asyncio.to_thread(self._writer.checkpoint)
                unsaved, saved_at = 0, now

    def _take(self, gathered: list[Gathered]) -> list[tuple[str, _Pieces]]:
        """Note what has come; gives the requests of which all has."""
        whole = []
        for item in gathered:
            pieces = self._open.get(item.key)
            if pieces is None:
                continue
            if stamp := event_stamp(item.event, item.headers):
                pieces.stamps.setdefault(*stamp)
            match item.event:
                case PassagesRetrieved():
                    pieces.retrieved = pieces.retrieved or item.event
                case PromptBuilt():
                    pieces.prompt = pieces.prompt or item.event
                case Terminal():
                    pieces.ending = pieces.ending or item
            if pieces.is_whole:
                whole.append((item.key, self._open.pop(item.key)))
                if item.key in self._sent:
                    self._room.release()
        return whole

    def _rows(self, request_id: str, pieces: _Pieces) -> list[Row]:
        ending, retrieved = pieces.ending, pieces.retrieved
        assert ending is not None  # noqa: S101 - it is whole
        assert isinstance(ending.event, Terminal)  # noqa: S101 - nothing else is kept as one
        if retrieved is not None:
            request = request_row(retrieved.query, pieces.query_id)
        else:
            question = self._questions.texts[pieces.query_id]
            request = RequestRow(request_id, pieces.query_id, ending.event.tenant or "", question)
        return [
            request,
            *passage_rows(request_id, retrieved.passages if retrieved else ()),
            answer_row(ending.event, ending.at_ms),
            *stamp_rows(request_id, ending.headers.timeline, pieces.stamps),
        ]


def _as_json(positions: Positions) -> dict[str, JsonValue]:
    return {topic: dict(offsets) for topic, offsets in positions.items()}
