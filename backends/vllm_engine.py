"""vLLM's ``AsyncLLM`` in this process, with its engine core in a process of its own."""

import asyncio
import multiprocessing
import os
import threading
from collections.abc import AsyncGenerator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import aclosing, contextmanager
from multiprocessing.process import BaseProcess
from typing import Any, Literal

import structlog

from backends.engine import Delta, EngineDeadError, EngineSettings, GenerationRequest
from backends.errors import BackendRejectedError, BackendUnavailableError
from backends.token_watch import TokenWatch
from backends.watched_stream import next_watched
from schemas.values import ChatMessage, Lane, ResponseFormat, Sampling, Usage

# Lower runs first.
_PRIORITIES: dict[Lane, int] = {"interactive": 0, "batch": 1}
_FINISHED: dict[str, Literal["stop", "length"]] = {"stop": "stop", "repetition": "stop", "length": "length"}
# The engine core itself waits five seconds for workers that it has; killed before, it leaves shared memory behind.
_SHUTDOWN_S = 15.0
_END_WAIT_S = 1.0

log = structlog.get_logger(__name__)


def set_environment(settings: EngineSettings) -> None:
    """Set the variables that vLLM reads, some of them while it is imported; there is no other way to tell it these."""
    os.environ["VLLM_NO_USAGE_STATS"] = "1"
    os.environ["VLLM_CPU_KVCACHE_SPACE"] = str(settings.kv_cache_gib)
    # A fork would copy the locks of a process that runs threads and an event loop.
    os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "spawn"
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")
    # Bound to cores, the engines of two workers would share the same ones; threads that spin while they wait would
    # take the cores from everything else on a small machine, and from each other.
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


class VllmEngine:
    """Generates with vLLM: many requests at once, interactive ones first, shared prefixes computed once.

    A model is loaded for minutes and computed with for long: both happen in other threads and processes than the
    event loop's. ``running`` counts requests in progress.
    """

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._watch = TokenWatch(settings.timeout_ms / 1000)
        self.running = 0
        self._llm: Any = None
        self._tokenizer: Any = None
        self._processes: set[BaseProcess] = set()
        self._abandoned = threading.Event()
        # One thread: a Hugging Face tokenizer is not safe in two.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="vllm")

    @property
    def model(self) -> str:
        return self._settings.model

    async def start(self) -> None:
        others = set(multiprocessing.active_children())
        loading = self._thread.submit(self._load)
        try:
            self._llm = await asyncio.shield(asyncio.wrap_future(loading))
        except asyncio.CancelledError:
            self._abandoned.set()
            await asyncio.to_thread(_kill_until_done, loading, others)
            raise
        finally:
            self._processes = set(multiprocessing.active_children()) - others
        self._tokenizer = self._llm.get_tokenizer()

    def _load(self) -> Any:
        set_environment(self._settings)
        from vllm.engine.arg_utils import AsyncEngineArgs  # noqa: PLC0415 - takes ten seconds, and the variables above
        from vllm.platforms import current_platform  # noqa: PLC0415
        from vllm.v1.engine.async_llm import AsyncLLM  # noqa: PLC0415
        from vllm.v1.executor.uniproc_executor import UniProcExecutor  # noqa: PLC0415

        is_cpu = bool(current_platform.is_cpu())
        arguments = AsyncEngineArgs(
            model=self._settings.path or self._settings.model,
            served_model_name=[self._settings.model],
            max_model_len=self._settings.max_model_len,
            max_num_seqs=self._settings.max_num_seqs,
            gpu_memory_utilization=self._settings.gpu_memory_utilization,
            # Compiled, the CPU build gives wrong answers.
            enforce_eager=is_cpu,
            # The CPU build takes a second process instead, to bind OpenMP's threads, which we do not; the engine core
            # would wait for it in a loop that takes a whole core.
            distributed_executor_backend=UniProcExecutor if is_cpu else None,
            enable_prefix_caching=True,
            scheduling_policy="priority",
            disable_log_stats=True,
            use_tqdm_on_load=False,
        )
        if self._abandoned.is_set():
            msg = "loading was given up"
            raise RuntimeError(msg)
        return AsyncLLM.from_engine_args(arguments)

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Delta, None]:
        if self._llm is None:
            msg = f"engine {self.model} has not started"
            raise BackendUnavailableError(msg)
        prompt = await self._tokenize(request.messages)
        room = self._settings.max_model_len - len(prompt)
        if room < 1:
            msg = f"the prompt has {len(prompt)} tokens; {self.model} takes {self._settings.max_model_len - 1}"
            raise BackendRejectedError(msg)
        from vllm.inputs import tokens_input  # noqa: PLC0415 - imported by start

        with _translated_errors():
            stream = self._llm.generate(
                tokens_input(prompt),
                self._sampling_params(request.sampling, room),
                request.id,
                priority=_PRIORITIES[request.lane],
            )
        written = 0
        self.running += 1
        try:
            async with aclosing(stream):
                while (output := await self._next(stream)) is not None:
                    piece = output.outputs[0]
                    written += len(piece.token_ids)
                    if piece.finish_reason is None:
                        yield Delta(piece.text)
                        continue
                    usage = Usage(prompt_tokens=len(prompt), completion_tokens=written)
                    yield Delta(piece.text, self._finish_reason(piece.finish_reason), usage)
        finally:
            self.running -= 1

    def _sampling_params(self, sampling: Sampling, room: int) -> Any:
        from vllm import SamplingParams  # noqa: PLC0415 - imported by start
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams  # noqa: PLC0415

        form = sampling.response_format
        return SamplingParams(
            max_tokens=min(sampling.max_tokens, room),
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            frequency_penalty=self._settings.frequency_penalty,
            seed=sampling.seed,
            stop=list(sampling.stop),
            structured_outputs=form and StructuredOutputsParams(**_constraint(form)),
            output_kind=RequestOutputKind.DELTA,
        )

    async def _tokenize(self, messages: Sequence[ChatMessage]) -> list[int]:
        chat = [message.model_dump() for message in messages]

        def encode() -> list[int]:
            text = self._tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
            return list(self._tokenizer.encode(text, add_special_tokens=False))

        return await asyncio.get_running_loop().run_in_executor(self._thread, encode)

    async def _next(self, stream: AsyncGenerator[Any, None]) -> Any:
        """Wait for the next output, None after the last; cancelling it aborts the request in the engine."""
        with _translated_errors():
            return await next_watched(stream, self._watch, self.model)

    def _finish_reason(self, reason: str) -> Literal["stop", "length"]:
        if reason not in _FINISHED:
            msg = f"engine {self.model} gave the request up ({reason})"
            raise BackendUnavailableError(msg)
        return _FINISHED[reason]

    async def close(self) -> None:
        llm, self._llm = self._llm, None
        if llm is not None:
            if llm.output_handler is not None:
                # It would report the end of the engine core as an error.
                llm.output_handler.cancel()
                await asyncio.wait({llm.output_handler})
            await asyncio.get_running_loop().run_in_executor(self._thread, llm.shutdown, _SHUTDOWN_S)
            # vLLM keeps it until the interpreter ends, and there its finalizer, a second shutdown, fails aloud.
            llm.shutdown = _do_nothing
        await asyncio.to_thread(_kill, self._processes)
        self._thread.shutdown(wait=False)


def _constraint(form: ResponseFormat) -> dict[str, Any]:
    return {"json_object": True} if form.json_schema is None else {"json": dict(form.json_schema)}


def _do_nothing() -> None:
    """What is left to shut down."""


@contextmanager
def _translated_errors() -> Iterator[None]:
    from vllm.exceptions import VLLMClientError, VLLMError  # noqa: PLC0415 - imported by start
    from vllm.v1.engine.exceptions import EngineDeadError as CoreDeadError  # noqa: PLC0415

    try:
        yield
    except CoreDeadError as error:
        msg = "the engine core of vLLM has died"
        raise EngineDeadError(msg) from error
    except (VLLMClientError, ValueError) as error:
        raise BackendRejectedError(str(error)) from error
    except VLLMError as error:
        raise BackendUnavailableError(str(error) or type(error).__name__) from error


def _kill_until_done(loading: Future[Any], others: set[BaseProcess]) -> None:
    """End a load that nobody wants: it fails once its processes are gone, and may be about to start one."""
    while not loading.done():
        _kill(set(multiprocessing.active_children()) - others)
        wait([loading], timeout=0.1)
    _kill(set(multiprocessing.active_children()) - others)


def _kill(processes: set[BaseProcess]) -> None:
    for process in processes:
        process.join(_END_WAIT_S)
        if process.is_alive():
            log.warning("engine process killed", pid=process.pid)
            process.kill()
            process.join()
