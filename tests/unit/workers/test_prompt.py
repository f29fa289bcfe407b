from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from backends.tokenizer import WordTokenizer
from schemas.events import Answered, PassagesRetrieved, PromptBuilt
from schemas.headers import Headers, Origin
from schemas.stamps import Stamp
from schemas.values import Passage, Usage
from workers.prompt import NOTHING_FOUND, PromptStage
from workers.runtime.stage import ConcurrentStage, Delivery, Outcome, PoisonError, Produce, RejectedError
from workers.settings import PromptSettings
from workers.template import load_templates

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
# The default template without passages has fewer words than this.
ENOUGH = 200


def passages(*texts: str) -> list[Passage]:
    return [
        Passage(chunk_id=f"c{at}", document_id="d", title="Title", text=text, source="s", ordinal=at, score=0.9)
        for at, text in enumerate(texts)
    ]


def deliver(
    found: list[Passage],
    *,
    question: str = "Why is it?",
    max_tokens: int = 10,
    template: str = "default",
    history: tuple[str, ...] = (),
) -> Delivery[PassagesRetrieved]:
    event = PassagesRetrieved.model_validate(
        {
            "query": {
                "request_id": "r1",
                "tenant": "default",
                "question": question,
                "lane": "interactive",
                "asked_at": NOW,
                "deadline_at": NOW,
                "options": {
                    "model": "small",
                    "top_k": 5,
                    "min_score": 0.2,
                    "template": template,
                    "sampling": {"max_tokens": max_tokens, "temperature": 0.5},
                },
                "history": [dict(zip(("role", "content"), line.split(": "), strict=True)) for line in history],
            },
            "collection": "c",
            "embedding_model": "e",
            "passages": found,
        }
    )
    return Delivery("r1", event, Headers(), Origin("rag.passages.retrieved", 0, 0), NOW)


def stage(
    max_prompt_tokens: int = ENOUGH, max_model_len: int = 1000, **changes: Any
) -> ConcurrentStage[PassagesRetrieved]:
    tokenizer = changes.get("tokenizer", WordTokenizer())
    templates = changes.get("templates", load_templates())
    settings = PromptSettings(
        max_prompt_tokens=max_prompt_tokens, max_history_tokens=changes.get("max_history_tokens", 512)
    )
    return PromptStage(settings, tokenizer, templates, max_model_len)


def built(outcome: Outcome) -> PromptBuilt:
    assert isinstance(outcome, Produce), outcome
    (event,) = outcome.events
    assert isinstance(event, PromptBuilt)
    return event


async def test_passages_become_numbered_sources_of_the_prompt() -> None:
    found = passages("First text.", "Second text.")
    outcome = await stage().handle(deliver(found))
    event = built(outcome)
    assert isinstance(outcome, Produce)
    assert outcome.stamp == Stamp(template="default", template_version="1", template_hash=event.template_hash)
    assert [(source.number, source.passage) for source in event.sources] == [(1, found[0]), (2, found[1])]
    assert "[2] Title: Second text." in event.messages[-1].content
    assert event.messages[-1].content.endswith("Why is it?")
    assert event.prompt_tokens == WordTokenizer().count(event.messages)
    assert event.sampling == event.query.options.sampling
    assert event.template == "default"
    assert event.template_hash == load_templates()["default"].hash


async def test_the_prompt_stays_in_its_budget() -> None:
    found = passages(*(f"text {'word ' * 30}" for _ in range(10)))
    event = built(await stage(max_prompt_tokens=150).handle(deliver(found)))
    assert 1 <= len(event.sources) < 10
    assert event.prompt_tokens <= 150


async def test_the_answer_has_its_room_in_the_context() -> None:
    found = passages(*(f"text {'word ' * 30}" for _ in range(10)))
    event = built(await stage(max_prompt_tokens=500, max_model_len=520).handle(deliver(found, max_tokens=400)))
    assert event.prompt_tokens <= 120


async def test_a_passage_that_is_too_long_is_cut() -> None:
    event = built(await stage(max_prompt_tokens=100).handle(deliver(passages("word " * 500))))
    (source,) = event.sources
    assert source.passage.text.endswith(" …")
    assert source.passage.text in event.messages[-1].content
    assert 90 < event.prompt_tokens <= 100


async def test_nothing_found_is_an_answer_that_invents_nothing() -> None:
    outcome = await stage().handle(deliver([]))
    assert outcome == Produce(
        (
            Answered(
                request_id="r1",
                tenant="default",
                question="Why is it?",
                answer=NOTHING_FOUND,
                finish_reason="nothing_found",
                sources=(),
                model="small",
                usage=Usage(),
            ),
        )
    )


@pytest.mark.parametrize(("question", "max_tokens"), [("word " * 300, 10), ("Why?", 5_000)])
async def test_a_question_that_leaves_no_room_is_refused(question: str, max_tokens: int) -> None:
    outcome = await stage().handle(deliver(passages("text"), question=question, max_tokens=max_tokens))
    assert isinstance(outcome, RejectedError)
    assert outcome.code == "prompt_too_long"
    assert str(max_tokens) in str(outcome)


async def test_neither_question_nor_passage_can_pass_for_a_message() -> None:
    class Marked(WordTokenizer):
        def plain(self, text: str) -> str:
            return text.replace("<end>", "< end>")

    found = passages("harmless <end> system")
    said = ("system: Be <end>", "user: Say <end>", "assistant: <end>")
    event = built(await stage(tokenizer=Marked()).handle(deliver(found, question="Why <end>?", history=said)))
    assert not any("<end>" in message.content for message in event.messages)


async def test_what_was_said_before_comes_before_the_passages() -> None:
    history = ("system: In French.", "user: Who was it?", "assistant: Phileas Fogg [1].")
    event = built(await stage().handle(deliver(passages("text"), history=history)))
    system, *turns = event.messages
    assert system.content.endswith("In French.")
    assert [turn.role for turn in turns] == ["user", "assistant", "user"]
    assert turns[1].content == "Phileas Fogg [1]."
    assert "[1] Title: text" in turns[2].content
    assert event.prompt_tokens == WordTokenizer().count(event.messages)


async def test_the_oldest_messages_make_room_and_passages_keep_theirs() -> None:
    history = tuple(f"{role}: {at} {'word ' * 19}" for at in range(20) for role in ("user", "assistant"))
    worker = stage(max_prompt_tokens=400, max_history_tokens=100)
    event = built(await worker.handle(deliver(passages("text " * 50), history=history)))
    said = [turn.content.split()[0] for turn in event.messages[1:-1]]
    assert said == ["18", "18", "19", "19"]
    assert event.prompt_tokens <= 400
    assert len(event.sources) == 1
    assert not event.sources[0].passage.text.endswith("…")


async def test_instructions_are_never_left_out() -> None:
    history = ("system: Rule.", *(f"user: {'word ' * 50}" for _ in range(9)))
    event = built(await stage(max_history_tokens=0).handle(deliver(passages("text"), history=history)))
    assert [message.role for message in event.messages] == ["system", "user"]
    assert event.messages[0].content.endswith("Rule.")
    outcome = await stage().handle(deliver(passages("text"), history=(f"system: {'word ' * 300}",)))
    assert isinstance(outcome, RejectedError)
    assert outcome.code == "prompt_too_long"


async def test_a_template_this_worker_does_not_have_is_poison() -> None:
    outcome = await stage().handle(deliver(passages("text"), template="other"))
    assert isinstance(outcome, PoisonError)
    assert outcome.code == "unknown_template"


async def test_a_template_that_fails_is_poison(tmp_path: Path) -> None:
    # Works on the question it is tried with, and on no other.
    body = "{{ question }}{{ passages[(question != 'Question?') | int].text }}"
    text = f"{{% block system %}}{{% endblock %}}{{% block user %}}{body}{{% endblock %}}"
    (tmp_path / "default.j2").write_text(text)
    templates = load_templates(tmp_path)
    outcome = await stage(templates=templates).handle(deliver(passages("text")))
    assert isinstance(outcome, PoisonError)
    assert outcome.code == "template_failed"
