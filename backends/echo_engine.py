"""The in-memory twin of an engine: repeats the last message."""

import asyncio
import re
from collections.abc import AsyncGenerator

import orjson

from backends.engine import Delta, EngineSettings, GenerationRequest
from backends.errors import BackendRejectedError, BackendUnavailableError
from backends.stop_filter import StopFilter
from schemas.values import ResponseFormat, Usage

_WORD = re.compile(r"\s*\S+")


class EchoEngine:
    """Repeats the last message word by word; a word, with the space before it, is a token. Asked for a JSON object, it
    repeats the message as its ``echo``; a schema it cannot follow.

    ``running`` counts requests in progress.
    """

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._slots = asyncio.Semaphore(settings.max_num_seqs)
        self._started = False
        self.running = 0

    @property
    def model(self) -> str:
        return self._settings.model

    async def start(self) -> None:
        self._started = True

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Delta, None]:
        if not self._started:
            msg = f"engine {self.model} has not started"
            raise BackendUnavailableError(msg)
        prompt_tokens = sum(len(message.content.split()) for message in request.messages)
        room = self._settings.max_model_len - prompt_tokens
        if room < 1:
            msg = f"the prompt has {prompt_tokens} tokens; {self.model} takes {self._settings.max_model_len - 1}"
            raise BackendRejectedError(msg)
        words = _WORD.findall(_formed(request.messages[-1].content, request.sampling.response_format))
        limit = min(request.sampling.max_tokens, room)
        async with self._slots:
            self.running += 1
            try:
                async for delta in self._repeat(words[:limit], request, prompt_tokens, cut=len(words) > limit):
                    yield delta
            finally:
                self.running -= 1

    async def _repeat(
        self, words: list[str], request: GenerationRequest, prompt_tokens: int, *, cut: bool
    ) -> AsyncGenerator[Delta, None]:
        stops = StopFilter(request.sampling.stop)
        said = 0
        for word in words:
            await asyncio.sleep(self._settings.echo_delay_ms / 1000)
            said += 1
            text = stops.feed(word)
            if text:
                yield Delta(text)
            if stops.stopped:
                break
        usage = Usage(prompt_tokens=prompt_tokens, completion_tokens=said)
        yield Delta(stops.flush(), "length" if cut and not stops.stopped else "stop", usage)

    async def close(self) -> None:
        self._started = False


def _formed(text: str, form: ResponseFormat | None) -> str:
    if form is None:
        return text
    if form.json_schema is not None:
        msg = "the echo engine cannot follow a JSON Schema"
        raise BackendRejectedError(msg)
    return orjson.dumps({"echo": text}).decode()
