"""The embedding stage: questions, and what they were expanded with, to vectors."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

from prometheus_client.registry import Collector

from backends.cached_embedder import CachedEmbedder
from backends.embedder import Embedder
from schemas.events import QueryAccepted, QueryEmbedded, QueryExpanded
from schemas.values import Embedding, ExpandedText
from topics.specs import QUERIES_ACCEPTED, TopicSpec
from workers.isolation import call_isolated
from workers.runtime.stage import Delivery, Outcome, Produce, StageError, UnavailableError
from workers.settings import EmbeddingSettings


class _Prompted(NamedTuple):
    """A text, and what the model is to read before it."""

    prompt: str
    text: str


_Result: TypeAlias = Embedding | StageError


class EmbeddingStage:
    """QueryAccepted or QueryExpanded → QueryEmbedded.

    ``query_prompt`` and ``passage_prompt`` are what the embedding model reads before a question and before a passage.
    """

    name = "embedding"
    consumes: tuple[TopicSpec, ...] = (QUERIES_ACCEPTED,)
    subject: Literal["request"] = "request"

    def __init__(
        self, settings: EmbeddingSettings, embedder: Embedder, query_prompt: str = "", passage_prompt: str = ""
    ) -> None:
        self._settings = settings
        self._embedder = embedder
        self._query_prompt = query_prompt
        self._passage_prompt = passage_prompt

    @property
    def max_batch(self) -> int:
        return self._settings.max_batch

    @property
    def linger_ms(self) -> int:
        return self._settings.linger_ms

    @property
    def collectors(self) -> tuple[Collector, ...]:
        """Metrics of the embedder's cache, if it has one."""
        return (self._embedder,) if isinstance(self._embedder, CachedEmbedder) else ()

    async def start(self) -> None:
        await self._embedder.start()

    async def stop(self) -> None:
        await self._embedder.close()

    async def handle(self, deliveries: Sequence[Delivery[QueryAccepted | QueryExpanded]]) -> list[Outcome]:
        wanted = [self._texts(delivery.event) for delivery in deliveries]
        results = iter(await call_isolated([text for texts in wanted for text in texts], self._embed, "embedder"))
        return [
            _outcome(delivery.event, texts, [next(results) for _ in texts])
            for delivery, texts in zip(deliveries, wanted, strict=True)
        ]

    def _texts(self, event: QueryAccepted | QueryExpanded) -> list[_Prompted]:
        """What is embedded for an event: the question first."""
        if isinstance(event, QueryAccepted):
            return [_Prompted(self._query_prompt, event.question)]
        is_passage = event.query.options.retrieval.expansion == "hyde"
        prompt = self._passage_prompt if is_passage else self._query_prompt
        question = _Prompted(self._query_prompt, event.query.question)
        return [question, *(_Prompted(prompt, text) for text in event.texts)]

    async def _embed(self, texts: Sequence[_Prompted]) -> list[Embedding]:
        found: dict[_Prompted, Embedding] = {}
        for prompt in dict.fromkeys(text.prompt for text in texts):
            some = [text for text in texts if text.prompt == prompt]
            vectors = await self._embedder.embed([text.text for text in some], prompt)
            packed = (Embedding.pack(self._embedder.model, vector, prompt) for vector in vectors)
            found |= zip(some, packed, strict=True)
        return [found[text] for text in texts]


def _outcome(
    event: QueryAccepted | QueryExpanded, texts: Sequence[_Prompted], embeddings: Sequence[_Result]
) -> Outcome:
    """The question's own error is the request's; a text beside it that cannot be embedded is left out."""
    question, *others = embeddings
    if isinstance(question, StageError):
        return question
    for other in others:
        if isinstance(other, UnavailableError):
            return other
    expansions = tuple(
        ExpandedText(text=text.text, embedding=embedding)
        for text, embedding in zip(texts[1:], others, strict=True)
        if isinstance(embedding, Embedding)
    )
    query = event if isinstance(event, QueryAccepted) else event.query
    return Produce((QueryEmbedded(query=query, embedding=question, expansions=expansions),))
