"""The events of a streamed response, numbered. Pure: whoever reads a request from its beginning, on whichever bridge,
gives each event the same number, so that a client can go on after the last one it has.

Source: OpenAI API reference, "Streaming events" of the Responses API.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from bridge.messages import Delta, Message, Sources, TerminalReached
from bridge.openai.ids import MESSAGE
from bridge.openai.response_object import OutputMessage, OutputText, begun, message, response
from bridge.openai.response_request import AskedResponse
from bridge.openai.steady import RestartedError, SteadyText
from bridge.summary import ended
from schemas.values import Source

_RESTARTED = "The answer was begun anew with other words than were sent: retrieve the response for the whole of it."


@dataclass(frozen=True, slots=True)
class Event:
    """One event; ``body`` is JSON, without what the event's other fields say."""

    type: str
    sequence_number: int
    body: dict[str, object]

    @property
    def data(self) -> dict[str, object]:
        """The event as it is sent."""
        return {"type": self.type, "sequence_number": self.sequence_number, **self.body}


class ResponseEvents:
    """Turns what happens to one request into events. ``done`` is set with the last one."""

    def __init__(self, request_id: str, asked: AskedResponse) -> None:
        self._request_id = request_id
        self._asked = asked
        self._item_id = MESSAGE.of(request_id)
        self._number = 0
        self._text = SteadyText()
        self._is_item_open = False
        self._sources: tuple[Source, ...] = ()
        self.done = False

    def opening(self) -> Iterator[Event]:
        """The first events, before anything has happened."""
        first = begun(self._request_id, self._asked, "queued" if self._asked.background else "in_progress")
        yield self._event("response.created", response=first.model_dump(mode="json"))
        working = first.model_copy(update={"status": "in_progress"})
        yield self._event("response.in_progress", response=working.model_dump(mode="json"))

    def take(self, told: Message) -> Iterator[Event]:
        """The events that follow from a message."""
        try:
            match told:
                case Sources():
                    self._sources = told.sources
                    yield from self._open_item()
                case Delta():
                    yield from self._delta(self._text.take(told))
                case TerminalReached():
                    yield from self._end(told)
        except RestartedError:
            yield self.error("answer_restarted", _RESTARTED)

    def error(self, code: str, text: str) -> Event:
        """The stream ends here, whatever becomes of the response.

        It has the number of the event before it, for it is none of the response's: after that the client goes on.
        """
        self.done = True
        return Event("error", max(self._number - 1, 0), {"code": code, "message": text, "param": None})

    def _open_item(self) -> Iterator[Event]:
        if self._is_item_open:
            return
        self._is_item_open = True
        item = OutputMessage(id=self._item_id, status="in_progress")
        sources = [source.model_dump(mode="json") for source in self._sources]
        yield self._event(
            "response.output_item.added", output_index=0, item=item.model_dump(mode="json"), sources=sources
        )
        yield self._part("response.content_part.added", part=OutputText(text="").model_dump(mode="json"))

    def _delta(self, text: str) -> Iterator[Event]:
        if text:
            yield from self._open_item()
            yield self._part("response.output_text.delta", delta=text, logprobs=[])

    def _end(self, told: TerminalReached) -> Iterator[Event]:
        summary = ended(told)
        whole = response(self._asked, summary)
        if summary.state == "answered":
            yield from self._delta(self._text.finish(summary.answer))
            yield from self._open_item()
            item = message(summary, "completed" if whole.status == "completed" else "incomplete")
            (text,) = item.content
            yield self._part("response.output_text.done", text=text.text, logprobs=[])
            for at, citation in enumerate(text.annotations):
                yield self._part(
                    "response.output_text.annotation.added",
                    annotation=citation.model_dump(mode="json"),
                    annotation_index=at,
                )
            yield self._part("response.content_part.done", part=text.model_dump(mode="json"))
            yield self._event("response.output_item.done", output_index=0, item=item.model_dump(mode="json"))
        self.done = True
        # There is no event for a cancelled response: it has failed, and its status says how.
        last = whole.status if whole.status in {"completed", "incomplete"} else "failed"
        yield self._event(f"response.{last}", response=whole.model_dump(mode="json"))

    def _part(self, kind: str, **fields: object) -> Event:
        return self._event(kind, item_id=self._item_id, output_index=0, content_index=0, **fields)

    def _event(self, kind: str, **fields: object) -> Event:
        self._number += 1
        return Event(kind, self._number - 1, fields)
