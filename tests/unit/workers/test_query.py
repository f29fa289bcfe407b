import unicodedata
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.events import ExpansionPromptBuilt, QueryAccepted, QueryAsked, RequestExpired
from schemas.headers import Headers, Origin
from workers.query import QueryStage, normalise_question
from workers.runtime.stage import ConcurrentStage, Delivery, Produce, RejectedError
from workers.settings import QuerySettings, TenantSettings

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ASKED = NOW - timedelta(seconds=1)
SETTINGS = QuerySettings(
    models=("small", "large"),
    tenants={
        "default": TenantSettings(),
        "bank": TenantSettings(model="large", top_k=9, temperature=0.7, template="strict", timeout_ms=5_000),
    },
    timeout_ms=60_000,
)
TEMPLATES = {"default", "strict"}


def deliver(key: str = "r1", headers: Headers | None = None, **fields: Any) -> Delivery[QueryAsked]:
    event = QueryAsked.model_validate({"question": "Why?"} | fields)
    return Delivery(key, event, headers or Headers(), Origin("rag.queries", 0, 7), ASKED)


def stage(settings: QuerySettings = SETTINGS) -> ConcurrentStage[QueryAsked]:
    return QueryStage(settings, TEMPLATES, now=lambda: NOW)


async def accept(delivery: Delivery[QueryAsked]) -> QueryAccepted:
    outcome = await stage().handle(delivery)
    assert isinstance(outcome, Produce), outcome
    (event,) = outcome.events
    assert isinstance(event, QueryAccepted)
    return event


async def reject(delivery: Delivery[QueryAsked]) -> RejectedError:
    outcome = await stage().handle(delivery)
    assert isinstance(outcome, RejectedError), outcome
    assert str(outcome).endswith(".")
    return outcome


async def test_a_plain_question_gets_every_default() -> None:
    accepted = await accept(deliver())
    assert accepted == QueryAccepted.model_validate(
        {
            "request_id": "r1",
            "tenant": "default",
            "question": "Why?",
            "lane": "interactive",
            "asked_at": ASKED,
            "deadline_at": ASKED + timedelta(seconds=60),
            "options": {
                "model": "small",
                "top_k": SETTINGS.top_k,
                "min_score": SETTINGS.min_score,
                "template": "default",
                "sampling": {"max_tokens": SETTINGS.max_tokens, "temperature": 0.0},
                "retrieval": {"mode": SETTINGS.mode},
            },
        }
    )


async def test_the_same_delivery_gives_the_same_event() -> None:
    assert await accept(deliver()) == await accept(deliver())


async def test_a_tenant_has_its_own_defaults_and_the_question_the_last_word() -> None:
    tenants = (await accept(deliver(tenant="bank"))).options
    assert (tenants.model, tenants.top_k, tenants.template, tenants.sampling.temperature) == ("large", 9, "strict", 0.7)
    own = await accept(
        deliver(
            tenant="bank",
            model="small",
            top_k=2,
            min_score=-1,
            template="default",
            max_tokens=7,
            temperature=0,
            top_p=0.5,
            seed=0,
            stop=["\n"],
            lane="batch",
            mode="sparse",
            rerank="late_interaction",
            diversity=0.5,
            neighbours=2,
            filter="ordinal == 1",
            expansion="hyde",
            variants=2,
        )
    )
    assert own.lane == "batch"
    assert own.options.model_dump() == {
        "model": "small",
        "top_k": 2,
        "min_score": -1,
        "template": "default",
        "sampling": {"max_tokens": 7, "temperature": 0, "top_p": 0.5, "seed": 0, "stop": ("\n",)},
        "retrieval": {
            "mode": "sparse",
            "rerank": "late_interaction",
            "diversity": 0.5,
            "neighbours": 2,
            "filter": "ordinal == 1",
            "expansion": "hyde",
            "variants": 2,
        },
    }


async def test_the_tenant_may_be_in_the_header() -> None:
    assert (await accept(deliver(headers=Headers(tenant="bank")))).tenant == "bank"
    assert (await accept(deliver(headers=Headers(tenant="bank"), tenant="default"))).tenant == "default"


async def test_the_time_of_the_header_comes_before_that_of_the_record() -> None:
    asked_at = NOW - timedelta(seconds=3)
    accepted = await accept(deliver(headers=Headers(time=asked_at)))
    assert accepted.asked_at == asked_at
    assert accepted.deadline_at == asked_at + timedelta(seconds=60)


@pytest.mark.parametrize(
    ("fields", "headers", "after_asked_s"),
    [
        ({"timeout_ms": 10_000}, {}, 10),
        ({"timeout_ms": 2**62}, {}, 60),
        ({"deadline_at": ASKED + timedelta(seconds=20)}, {}, 20),
        ({"timeout_ms": 30_000, "deadline_at": ASKED + timedelta(seconds=20)}, {}, 20),
        ({"timeout_ms": 30_000}, {"deadline_at": ASKED + timedelta(seconds=15)}, 15),
        ({"deadline_at": ASKED + timedelta(days=1)}, {}, 60),
        ({"tenant": "bank"}, {}, 5),
    ],
)
async def test_the_earliest_deadline_holds(fields: dict[str, Any], headers: Any, after_asked_s: int) -> None:
    accepted = await accept(deliver(headers=Headers(**headers), **fields))
    assert accepted.deadline_at == ASKED + timedelta(seconds=after_asked_s)


async def test_after_a_redrive_its_deadline_holds_alone() -> None:
    later = NOW + timedelta(hours=1)
    long_ago = Headers(time=NOW - timedelta(days=3), deadline_at=later, redrives=1)
    accepted = await accept(deliver(headers=long_ago, timeout_ms=1_000, deadline_at=ASKED))
    assert accepted.deadline_at == later


@pytest.mark.parametrize("fields", [{"timeout_ms": 1_000}, {"deadline_at": "2026-03-01T11:00:00"}])
async def test_a_deadline_that_has_passed_expires_the_request(fields: dict[str, Any]) -> None:
    outcome = await stage().handle(deliver(**fields))
    assert isinstance(outcome, Produce)
    (event,) = outcome.events
    assert isinstance(event, RequestExpired)
    assert (event.request_id, event.tenant, event.stage) == ("r1", "default", "query")
    assert event.deadline_at <= NOW


@pytest.mark.parametrize(
    ("fields", "code", "words"),
    [
        ({"question": ""}, "empty_question", ["empty"]),
        ({"question": " \n\t　"}, "empty_question", ["empty"]),
        ({"question": "x" * 1_000_000}, "question_too_long", ["1000000", "8000"]),
        ({"question": "a\x00b"}, "binary_question", ["binary"]),
        ({"question": "a\x1bb"}, "binary_question", ["binary"]),
        ({"question": "PNG\ufffd\ufffd"}, "binary_question", ["binary"]),
        ({"model": "huge"}, "unknown_model", ["'huge'", "small, large"]),
        ({"model": "x" * 500}, "unknown_model", ["..."]),
        ({"tenant": "nobody"}, "unknown_tenant", ["'nobody'"]),
        ({"template": "none"}, "unknown_template", ["'none'", "default, strict"]),
        ({"top_k": 0}, "invalid_option", ["top_k", "greater than 0", "not 0"]),
        ({"top_k": 101}, "invalid_option", ["top_k", "100", "101"]),
        ({"min_score": 1.5}, "invalid_option", ["min_score", "1.5"]),
        ({"max_tokens": -1}, "invalid_option", ["max_tokens"]),
        ({"temperature": 2.1}, "invalid_option", ["temperature"]),
        ({"top_p": 0}, "invalid_option", ["top_p"]),
        ({"mode": "magic"}, "invalid_option", ["mode", "'hybrid'", "magic"]),
        ({"rerank": "magic"}, "invalid_option", ["rerank", "'cross_encoder'"]),
        ({"diversity": 1.1}, "invalid_option", ["diversity", "1.1"]),
        ({"neighbours": 4}, "invalid_option", ["neighbours", "3", "4"]),
        ({"expansion": "magic"}, "invalid_option", ["expansion", "'hyde'", "magic"]),
        ({"variants": 0}, "invalid_option", ["variants", "1 to 5", "not 0"]),
        ({"expansion": "hyde", "variants": 6}, "invalid_option", ["variants", "1 to 5", "not 6"]),
        ({"filter": "colour == 'red'"}, "invalid_filter", ["'colour'", "source"]),
        ({"filter": "title == "}, "invalid_filter", ["character 9"]),
        ({"seed": -1}, "invalid_option", ["seed"]),
        ({"timeout_ms": 0}, "invalid_option", ["timeout_ms"]),
        ({"stop": [""]}, "invalid_option", ["stop"]),
        ({"stop": ["x"] * 9}, "invalid_option", ["stop"]),
        ({"key": "k" * 129}, "invalid_request_id", ["129", "128"]),
    ],
)
async def test_what_cannot_be_served_is_refused_in_one_sentence(
    fields: dict[str, Any], code: str, words: list[str]
) -> None:
    rejection = await reject(deliver(**fields))
    assert rejection.code == code
    assert all(word in str(rejection) for word in words), str(rejection)
    assert len(str(rejection)) < 300


async def test_a_time_at_the_end_of_time_is_refused() -> None:
    rejection = await reject(deliver(headers=Headers(time=datetime.max.replace(tzinfo=UTC))))
    assert rejection.code == "invalid_option"


def test_questions_are_normalised() -> None:
    decomposed = unicodedata.normalize("NFD", "  Où \r\n\t est\x85la gare  ?  ")
    assert normalise_question(decomposed, 100) == "Où est la gare ?"


@given(st.text(max_size=50))
def test_a_normalised_question_stays_as_it_is(text: str) -> None:
    try:
        question = normalise_question(text, 50)
    except RejectedError:
        return
    assert normalise_question(question, 200) == question


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (QuerySettings(template="none"), "query.template is 'none'"),
        (QuerySettings(tenants={"default": TenantSettings(model="x")}), "query.tenants.default.model is 'x'"),
        (QuerySettings(tenants={"default": TenantSettings(template="x")}), "query.tenants.default.template is 'x'"),
    ],
)
def test_defaults_must_exist(settings: QuerySettings, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        stage(settings)


async def test_what_was_said_before_goes_on_with_the_question() -> None:
    history = [
        {"role": "system", "content": "In French."},
        {"role": "user", "content": "  Cafe\u0301? "},
        {"role": "assistant", "content": " "},
    ]
    accepted = await accept(deliver(history=history))
    assert [(message.role, message.content) for message in accepted.history] == [
        ("system", "In French."),
        ("user", "Caf\u00e9?"),
    ]
    assert (await accept(deliver())).history == ()


async def test_a_long_conversation_loses_its_oldest_messages() -> None:
    history = [{"role": "user", "content": str(at) * 900} for at in range(9)]
    settings = SETTINGS.model_copy(update={"max_history_chars": 2_000})
    outcome = await stage(settings).handle(deliver(history=history))
    assert isinstance(outcome, Produce)
    (accepted,) = outcome.events
    assert isinstance(accepted, QueryAccepted)
    assert [message.content[0] for message in accepted.history] == ["7", "8"]


@pytest.mark.parametrize(
    ("role", "content", "code"),
    [("system", "x" * 40_000, "instructions_too_long"), ("user", "a\x00b", "binary_history")],
)
async def test_a_history_that_cannot_be_used(role: str, content: str, code: str) -> None:
    assert (await reject(deliver(history=[{"role": role, "content": content}]))).code == code


async def test_the_form_of_the_answer_goes_to_the_engine() -> None:
    form = {"type": "json_schema", "json_schema": {"type": "object"}}
    sampling = (await accept(deliver(response_format=form))).options.sampling
    assert sampling.response_format is not None
    assert sampling.response_format.json_schema == {"type": "object"}


async def test_a_question_to_be_expanded_goes_by_the_engine_first() -> None:
    outcome = await QueryStage(SETTINGS, TEMPLATES, now=lambda: NOW, plain=str.upper).handle(
        deliver(expansion="multi_query")
    )
    assert isinstance(outcome, Produce)
    (event,) = outcome.events
    assert isinstance(event, ExpansionPromptBuilt)
    assert event.messages[-1].content.endswith("Question: WHY?")
    assert event.query == (await accept(deliver(expansion="hyde", mode="sparse"))).model_copy(
        update={"options": event.query.options}
    )
    retrieval = event.query.options.retrieval
    assert (retrieval.expansion, retrieval.variants) == ("multi_query", SETTINGS.variants)


async def test_expansion_may_be_a_tenants_default_and_turned_off() -> None:
    tenants = {"default": TenantSettings(expansion="hyde", variants=1)}
    outcome = await stage(SETTINGS.model_copy(update={"tenants": tenants})).handle(deliver())
    assert isinstance(outcome, Produce)
    (event,) = outcome.events
    assert isinstance(event, ExpansionPromptBuilt)
    assert len(event.samplings) == 1
    plain = await stage(SETTINGS.model_copy(update={"tenants": tenants})).handle(deliver(expansion="none"))
    assert isinstance(plain, Produce)
    assert isinstance(plain.events[0], QueryAccepted)
    assert plain.events[0] == await accept(deliver(variants=2))
