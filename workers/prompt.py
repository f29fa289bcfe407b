"""The prompt stage: packs the passages into what the model can read, and words the request to it."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Literal

import jinja2

from backends.tokenizer import Tokenizer
from schemas.events import Answered, PassagesRetrieved, PromptBuilt
from schemas.stamps import Stamp
from schemas.values import ChatMessage, Passage, Source, Usage
from topics.specs import PASSAGES_RETRIEVED, TopicSpec
from workers.conversation import assemble, latest
from workers.packing import pack
from workers.runtime.stage import Delivery, Outcome, PoisonError, Produce, RejectedError
from workers.settings import PromptSettings
from workers.template import PromptTemplate

NOTHING_FOUND = "Nothing was found that answers this question."


class PromptStage:
    """PassagesRetrieved → PromptBuilt; or Answered (nothing found) where there is no passage, so that nothing is made
    up. Of an earlier conversation the latest messages that fit go into the prompt.

    ``max_model_len`` is the longest prompt plus answer of the model, in tokens.
    """

    name = "prompt"
    consumes: tuple[TopicSpec, ...] = (PASSAGES_RETRIEVED,)
    subject: Literal["request"] = "request"

    def __init__(
        self,
        settings: PromptSettings,
        tokenizer: Tokenizer,
        templates: Mapping[str, PromptTemplate],
        max_model_len: int,
    ) -> None:
        self._settings = settings
        self._tokenizer = tokenizer
        self._templates = templates
        self._max_model_len = max_model_len

    @property
    def max_in_flight(self) -> int:
        return self._settings.max_in_flight

    async def start(self) -> None:
        """Nothing to load."""

    async def stop(self) -> None:
        """Nothing to let go of."""

    async def handle(self, delivery: Delivery[PassagesRetrieved]) -> Outcome:
        event = delivery.event
        if not event.passages:
            return Produce((_nothing_found(event),))
        template = self._templates.get(event.query.options.template)
        if template is None:
            message = f"Template {event.query.options.template!r} is not known to this prompt worker."
            return PoisonError("unknown_template", message)
        try:
            # Counting tokens again and again is work of many milliseconds.
            return await asyncio.to_thread(self._build, event, template)
        except jinja2.TemplateError as error:
            return PoisonError("template_failed", f"Template {template.name!r} failed: {error}.")

    def _build(self, event: PassagesRetrieved, template: PromptTemplate) -> Outcome:
        # Neither what was said nor a passage may pass for a message of its own.
        question = self._tokenizer.plain(event.query.question)
        passages = [self._plain(passage) for passage in event.passages]
        sampling = event.query.options.sampling
        budget = min(self._settings.max_prompt_tokens, self._max_model_len - sampling.max_tokens)
        history = self._history(event, template, question, budget) if event.query.history else ()

        def render(sources: Sequence[Source]) -> tuple[ChatMessage, ...]:
            return assemble(template.render(question, sources), history)

        def cost(sources: Sequence[Source]) -> int:
            return self._tokenizer.count(render(sources))

        sources = pack(passages, budget, cost)
        if not sources:
            message = (
                f"The question makes a prompt of {cost(())} tokens without any passage, but with an answer of up to "
                f"{sampling.max_tokens} tokens a prompt may have {max(budget, 0)}."
            )
            return RejectedError("prompt_too_long", message)
        built = PromptBuilt(
            query=event.query,
            template=template.name,
            template_hash=template.hash,
            messages=render(sources),
            prompt_tokens=cost(sources),
            sources=sources,
            sampling=sampling,
        )
        stamp = Stamp(template=template.name, template_version=template.version, template_hash=template.hash)
        return Produce((built,), stamp)

    def _history(
        self, event: PassagesRetrieved, template: PromptTemplate, question: str, budget: int
    ) -> tuple[ChatMessage, ...]:
        """The instructions, and the latest messages within their share of the prompt: the rest is for passages."""
        prompt = template.render(question, ())
        messages = [
            message.model_copy(update={"content": self._tokenizer.plain(message.content)})
            for message in event.query.history
        ]
        instructions = [message for message in messages if message.role == "system"]
        limit = self._tokenizer.count(assemble(prompt, instructions)) + min(
            self._settings.max_history_tokens, budget // 2
        )
        return latest(messages, lambda some: self._tokenizer.count(assemble(prompt, some)) <= limit)

    def _plain(self, passage: Passage) -> Passage:
        plain = self._tokenizer.plain
        return passage.model_copy(update={"title": plain(passage.title), "text": plain(passage.text)})


def _nothing_found(event: PassagesRetrieved) -> Answered:
    return Answered(
        request_id=event.query.request_id,
        tenant=event.query.tenant,
        question=event.query.question,
        answer=NOTHING_FOUND,
        finish_reason="nothing_found",
        sources=(),
        model=event.query.options.model,
        usage=Usage(),
    )
