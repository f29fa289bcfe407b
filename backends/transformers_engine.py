"""The transformers library in this process: slow and simple, one request at a time."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

from backends.engine import Delta, EngineSettings, GenerationRequest
from backends.errors import BackendRejectedError, BackendUnavailableError
from backends.stop_filter import StopFilter
from schemas.values import ChatMessage, Usage

_Item: TypeAlias = Delta | Exception
_CancelledCheck: TypeAlias = Callable[[], bool]


class TransformersEngine:
    """Generates in one thread; more requests wait their turn. A cancelled one ends at its next token."""

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._model: Any = None
        self._tokenizer: Any = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="transformers")

    @property
    def model(self) -> str:
        return self._settings.model

    async def start(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._load)

    def _load(self) -> None:
        import transformers  # noqa: PLC0415 - takes seconds, so not on the event loop's thread

        path = self._settings.path or self._settings.model
        self._tokenizer = transformers.AutoTokenizer.from_pretrained(path)
        model = transformers.AutoModelForCausalLM.from_pretrained(path, dtype="auto")
        model.to("cuda" if transformers.utils.is_torch_cuda_available() else "cpu").eval()
        self._model = model

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Delta, None]:
        if self._model is None:
            msg = f"engine {self.model} has not started"
            raise BackendUnavailableError(msg)
        if request.sampling.response_format is not None:
            msg = f"engine {self.model} runs in transformers, which cannot hold an answer to a response format"
            raise BackendRejectedError(msg)
        loop = asyncio.get_running_loop()
        items: asyncio.Queue[_Item] = asyncio.Queue()
        cancelled = threading.Event()

        def emit(item: _Item) -> None:
            # The loop may be closed by the time the last token of a cancelled request is there.
            if not cancelled.is_set():
                loop.call_soon_threadsafe(items.put_nowait, item)

        work = self._thread.submit(self._run, request, emit, cancelled.is_set)
        try:
            while True:
                item = await items.get()
                if isinstance(item, Exception):
                    raise item
                yield item
                if item.finish_reason is not None:
                    return
        finally:
            cancelled.set()
            work.cancel()

    def _run(self, request: GenerationRequest, emit: Callable[[_Item], None], is_cancelled: _CancelledCheck) -> None:
        if is_cancelled():
            return
        try:
            emit(self._answer(request, emit, is_cancelled))
        except BackendRejectedError as error:
            emit(error)
        except Exception as error:  # noqa: BLE001 - whatever the library raises belongs to who waits for the answer
            emit(BackendUnavailableError(f"transformers failed: {error}"))

    def _answer(
        self, request: GenerationRequest, emit: Callable[[_Item], None], is_cancelled: _CancelledCheck
    ) -> Delta:
        """Generate, emitting text as it comes; give the last delta."""
        prompt = self._encode(request.messages)
        prompt_tokens = int(prompt["input_ids"].shape[1])
        room = self._settings.max_model_len - prompt_tokens
        if room < 1:
            msg = f"the prompt has {prompt_tokens} tokens; {self.model} takes {self._settings.max_model_len - 1}"
            raise BackendRejectedError(msg)
        stops = StopFilter(request.sampling.stop)

        def take(text: str) -> None:
            passed = stops.feed(text)
            if passed:
                emit(Delta(passed))

        def is_over(input_ids: Any, _scores: Any, **_: Any) -> Any:
            return input_ids.new_full((input_ids.shape[0],), stops.stopped or is_cancelled()).bool()

        limit = min(request.sampling.max_tokens, room)
        output = self._model.generate(
            **prompt,
            **self._sampling(request),
            max_new_tokens=limit,
            streamer=_streamer(self._tokenizer, take),
            stopping_criteria=[is_over],
            logits_processor=[self._penalise(prompt_tokens)],
        )
        written = output[0, prompt_tokens:]
        ended = stops.stopped or int(written[-1]) in self._end_tokens()
        usage = Usage(prompt_tokens=prompt_tokens, completion_tokens=len(written))
        return Delta(stops.flush(), "stop" if ended or len(written) < limit else "length", usage)

    def _encode(self, messages: Sequence[ChatMessage]) -> Any:
        chat = [message.model_dump() for message in messages]
        text = self._tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
        return self._tokenizer(text, add_special_tokens=False, return_tensors="pt").to(self._model.device)

    def _sampling(self, request: GenerationRequest) -> dict[str, Any]:
        sampling = request.sampling
        if sampling.temperature == 0:
            # The model's own defaults for sampling would be warned about.
            return {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
        if sampling.seed is not None:
            import torch  # noqa: PLC0415 - imported by start

            torch.manual_seed(sampling.seed)
        return {"do_sample": True, "temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}

    def _penalise(self, prompt_tokens: int) -> Callable[[Any, Any], Any]:
        """The frequency penalty as the OpenAI API defines it: so much less for each time a token was written."""

        def penalise(input_ids: Any, scores: Any) -> Any:
            written = input_ids[:, prompt_tokens:]
            losses = scores.new_full(written.shape, -self._settings.frequency_penalty)
            return scores.scatter_add(1, written, losses)

        return penalise

    def _end_tokens(self) -> set[int]:
        ends = self._model.generation_config.eos_token_id
        return set(ends) if isinstance(ends, list) else {ends}

    async def close(self) -> None:
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)
        self._model = self._tokenizer = None


def _streamer(tokenizer: Any, take: Callable[[str], None]) -> Any:
    """A streamer that hands on whole words, so that no character is cut in two."""
    from transformers import TextStreamer  # noqa: PLC0415 - imported by start

    class Streamer(TextStreamer):  # type: ignore[misc]
        def on_finalized_text(self, text: str, stream_end: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002
            take(text)

    return Streamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
