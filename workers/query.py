"""The query stage: takes a question or says in one sentence why not, and decides everything later stages need."""

import unicodedata
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from pydantic import ValidationError

from backends.filter_parser import FilterError, parse_filter
from schemas.events import MAX_REQUEST_ID_CHARS, QueryAccepted, QueryAsked, RequestExpired
from schemas.headers import Headers
from schemas.values import MAX_VARIANTS, ChatMessage, QueryOptions, RetrievalOptions, Sampling
from topics.specs import QUERIES, TopicSpec
from workers.conversation import latest
from workers.expansion import expansion_prompt, needs_expansion
from workers.runtime.stage import Delivery, Outcome, Produce, RejectedError
from workers.settings import QuerySettings, TenantSettings

MAX_STOPS = 8
MAX_STOP_CHARS = 100
_REPLACEMENT = "\ufffd"


def _utc_now() -> datetime:
    return datetime.now(UTC)


class QueryStage:
    """QueryAsked → QueryAccepted; or ExpansionPromptBuilt, where the engine is to be asked before the search; or
    RequestExpired where the deadline has passed already.

    ``templates`` are the names of the prompt templates that exist. ``plain`` breaks up what the engine's model would
    read as a mark of the chat's own structure.

    Raises:
        ValueError: a default names a model or template that does not exist.
    """

    name = "query"
    consumes: tuple[TopicSpec, ...] = (QUERIES,)
    subject: Literal["request"] = "request"

    def __init__(
        self,
        settings: QuerySettings,
        templates: Collection[str],
        now: Callable[[], datetime] = _utc_now,
        plain: Callable[[str], str] = str,
    ) -> None:
        self._settings = settings
        self._templates = frozenset(templates)
        self._now = now
        self._plain = plain
        _check_known("query.template", settings.template, self._templates)
        for name, tenant in settings.tenants.items():
            _check_known(f"query.tenants.{name}.template", tenant.template, self._templates)
            _check_known(f"query.tenants.{name}.model", tenant.model, settings.models)

    @property
    def max_in_flight(self) -> int:
        return self._settings.max_in_flight

    async def start(self) -> None:
        """Nothing to load."""

    async def stop(self) -> None:
        """Nothing to let go of."""

    async def handle(self, delivery: Delivery[QueryAsked]) -> Outcome:
        asked = delivery.event
        if not 0 < len(delivery.key) <= MAX_REQUEST_ID_CHARS:
            message = f"The request ID has {len(delivery.key)} characters; it may have 1 to {MAX_REQUEST_ID_CHARS}."
            return RejectedError("invalid_request_id", message)
        try:
            question = normalise_question(asked.question, self._settings.max_question_chars)
            history = normalise_history(asked.history or (), self._settings.max_history_chars)
            tenant = asked.tenant or delivery.headers.tenant or self._settings.default_tenant
            options = self._options(asked, self._tenant(tenant))
            asked_at = delivery.headers.time or delivery.timestamp
            deadline = self._deadline(asked, self._tenant(tenant), asked_at, delivery.headers)
        except RejectedError as rejection:
            return rejection
        # A replay asks what would have been answered then.
        if deadline <= self._now() and not delivery.headers.replay:
            return Produce(
                (RequestExpired(request_id=delivery.key, tenant=tenant, stage=self.name, deadline_at=deadline),)
            )
        accepted = QueryAccepted(
            request_id=delivery.key,
            tenant=tenant,
            question=question,
            lane=asked.lane or "interactive",
            asked_at=asked_at,
            deadline_at=deadline,
            options=options,
            history=history,
        )
        if needs_expansion(options.retrieval):
            return Produce((expansion_prompt(accepted, self._plain(question), self._settings.expansion_max_tokens),))
        return Produce((accepted,))

    def _tenant(self, name: str) -> TenantSettings:
        tenant = self._settings.tenants.get(name)
        if tenant is None:
            raise RejectedError("unknown_tenant", f"Tenant {_short(name)} is not known.")
        return tenant

    def _options(self, asked: QueryAsked, tenant: TenantSettings) -> QueryOptions:
        settings = self._settings
        model = _first(asked.model, tenant.model, settings.models[0])
        if model not in settings.models:
            message = f"Model {_short(model)} is not known; known are {', '.join(settings.models)}."
            raise RejectedError("unknown_model", message)
        template = _first(asked.template, tenant.template, settings.template)
        if template not in self._templates:
            message = f"Template {_short(template)} is not known; known are {', '.join(sorted(self._templates))}."
            raise RejectedError("unknown_template", message)
        _check_bounds(asked)
        try:
            return QueryOptions(
                model=model,
                top_k=_first(asked.top_k, tenant.top_k, settings.top_k),
                min_score=_first(asked.min_score, tenant.min_score, settings.min_score),
                template=template,
                retrieval=self._retrieval(asked, tenant),
                sampling=Sampling(
                    max_tokens=_first(asked.max_tokens, tenant.max_tokens, settings.max_tokens),
                    temperature=_first(asked.temperature, tenant.temperature, settings.temperature),
                    top_p=_first(asked.top_p, 1.0),
                    seed=asked.seed,
                    stop=asked.stop or (),
                    response_format=asked.response_format,
                ),
            )
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            requirement = problem["msg"].removeprefix("Input should be ")
            message = f"{problem['loc'][-1]} must be {requirement}, not {_short(problem['input'])}."
            raise RejectedError("invalid_option", message) from error

    def _retrieval(self, asked: QueryAsked, tenant: TenantSettings) -> RetrievalOptions:
        settings = self._settings
        if asked.filter:
            try:
                parse_filter(asked.filter)
            except FilterError as error:
                raise RejectedError("invalid_filter", str(error)) from error
        expansion = _first(asked.expansion, tenant.expansion, settings.expansion)
        return RetrievalOptions(
            mode=_first(asked.mode, tenant.mode, settings.mode),
            rerank=_first(asked.rerank, tenant.rerank, settings.rerank),
            diversity=_first(asked.diversity, tenant.diversity, settings.diversity),
            neighbours=_first(asked.neighbours, tenant.neighbours, settings.neighbours),
            filter=_first(asked.filter, ""),
            expansion=expansion,
            variants=_first(asked.variants, tenant.variants, settings.variants) if expansion != "none" else 0,
        )

    def _deadline(self, asked: QueryAsked, tenant: TenantSettings, asked_at: datetime, headers: Headers) -> datetime:
        """The earliest of what the question, the header and the settings say; after a redrive what that one says."""
        if headers.redrives and headers.deadline_at is not None:
            return headers.deadline_at
        timeout_ms = min(
            _first(asked.timeout_ms, tenant.timeout_ms, self._settings.timeout_ms),
            _first(tenant.timeout_ms, self._settings.timeout_ms),
        )
        try:
            moments = [asked_at + timedelta(milliseconds=timeout_ms)]
        except OverflowError as error:
            message = f"The time of the question, {asked_at.isoformat()}, leaves no room for a deadline."
            raise RejectedError("invalid_option", message) from error
        return min(moments + [moment for moment in (asked.deadline_at, headers.deadline_at) if moment is not None])


def normalise_question(text: str, max_chars: int) -> str:
    """The question in Unicode NFC, without space around it, and with one space where there was any.

    Raises:
        RejectedError: empty, longer than ``max_chars``, or binary data.
    """
    text = text.strip()
    if not text:
        raise RejectedError("empty_question", "The question is empty.")
    if len(text) > max_chars:
        message = f"The question has {len(text)} characters; at most {max_chars} are taken."
        raise RejectedError("question_too_long", message)
    if _is_binary(text):
        raise RejectedError("binary_question", "The question holds binary data; it must be text.")
    return " ".join(unicodedata.normalize("NFC", text).split())


def normalise_history(messages: Sequence[ChatMessage], max_chars: int) -> tuple[ChatMessage, ...]:
    """The instructions and the latest messages that have no more than ``max_chars`` together, in Unicode NFC.

    Raises:
        RejectedError: instructions longer than that, or binary data.
    """
    spoken = [message for message in messages if message.content.strip()]
    if any(_is_binary(message.content) for message in spoken):
        raise RejectedError("binary_history", "The earlier messages hold binary data; they must be text.")
    instructions = sum(len(message.content) for message in spoken if message.role == "system")
    if instructions > max_chars:
        message = f"The instructions have {instructions} characters; at most {max_chars} are taken."
        raise RejectedError("instructions_too_long", message)
    kept = latest(spoken, lambda some: sum(len(message.content) for message in some) <= max_chars)
    return tuple(
        message.model_copy(update={"content": unicodedata.normalize("NFC", message.content.strip())})
        for message in kept
    )


def _is_binary(text: str) -> bool:
    return any(character == _REPLACEMENT or _is_control(character) for character in text)


def _is_control(character: str) -> bool:
    return unicodedata.category(character) == "Cc" and character not in "\t\n\v\f\r\x85"


def _check_bounds(asked: QueryAsked) -> None:
    """Check what the engines limit and the events do not."""
    if asked.seed is not None and asked.seed < 0:
        raise RejectedError("invalid_option", f"seed must be 0 or greater, not {_short(asked.seed)}.")
    if asked.timeout_ms is not None and asked.timeout_ms <= 0:
        raise RejectedError("invalid_option", f"timeout_ms must be greater than 0, not {_short(asked.timeout_ms)}.")
    if asked.variants is not None and not 0 < asked.variants <= MAX_VARIANTS:
        message = f"variants must be from 1 to {MAX_VARIANTS}, not {_short(asked.variants)}."
        raise RejectedError("invalid_option", message)
    stops = asked.stop or ()
    if len(stops) > MAX_STOPS or not all(0 < len(stop) <= MAX_STOP_CHARS for stop in stops):
        message = f"stop may hold {MAX_STOPS} strings of 1 to {MAX_STOP_CHARS} characters."
        raise RejectedError("invalid_option", message)


def _check_known(setting: str, value: str | None, known: Collection[str]) -> None:
    if value is not None and value not in known:
        msg = f"{setting} is {value!r}, but known are {', '.join(sorted(known))}"
        raise ValueError(msg)


def _first(*choices: Any) -> Any:
    """The first that is set."""
    return next(choice for choice in choices if choice is not None)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004 - room in one sentence
