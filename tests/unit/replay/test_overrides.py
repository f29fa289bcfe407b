from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from ragline.settings import Settings
from replay.errors import ReplayError
from replay.overrides import apply, effects, environment, parse
from replay.topology import way_from
from schemas.events import PassagesRetrieved, PromptBuilt, QueryAccepted
from schemas.values import QueryOptions, Sampling

QUERY = QueryAccepted(
    request_id="r",
    tenant="t",
    question="q",
    lane="batch",
    asked_at=datetime(2026, 1, 1, tzinfo=UTC),
    deadline_at=None,
    options=QueryOptions(model="m", top_k=3, min_score=0.1, template="default", sampling=Sampling()),
)


@pytest.mark.parametrize(
    ("item", "value"),
    [
        ("query.top_k=8", 8),
        ("query.template=12", "12"),
        ("prompt.templates_path=a=b", "a=b"),
        ('retrieval.rerankers=["late_interaction"]', ("late_interaction",)),
        ('milvus.search_params={"ef": 100}', {"ef": 100}),
        ("query.min_score=-0.5", -0.5),
    ],
)
def test_a_changed_setting_is_what_its_text_says(item: str, value: object) -> None:
    changed = apply(Settings(), parse([item]))
    section, name = item.split("=", maxsplit=1)[0].split(".")
    assert getattr(getattr(changed, section), name) == value


def test_a_part_of_a_setting_can_be_changed() -> None:
    changed = apply(Settings(), parse(["query.tenants.default.top_k=9"]))
    assert changed.query.tenants["default"].top_k == 9


@pytest.mark.parametrize(
    ("item", "problem"),
    [
        ("query.topk=8", "there is no setting query.topk; did you mean top_k?"),
        ("quary.top_k=8", "there is no setting quary.top_k; did you mean query?"),
        ("query.top_k=many", "valid integer"),
        ("query.top_k=1000", "less than or equal to 100"),
        ("chunking.overlap_tokens=900", "must be less than chunking.max_tokens"),
    ],
)
def test_a_setting_that_is_not_there_or_wrong_is_named(item: str, problem: str) -> None:
    with pytest.raises(ReplayError) as raised:
        apply(Settings(), parse([item]))
    assert problem in str(raised.value)


@pytest.mark.parametrize("item", ["query", "query=1", "query.top_k", ".top_k=1", "=1"])
def test_what_is_no_change_is_refused(item: str) -> None:
    with pytest.raises(ReplayError, match=r"--set takes stage\.setting=value"):
        parse([item])


@pytest.mark.parametrize(
    ("topic", "item", "problem"),
    [
        (
            "rag.passages.retrieved",
            "retrieval.candidates=5",
            "stage retrieval does not run; replay from rag.queries.embedded",
        ),
        ("rag.passages.retrieved", "query.top_k=5", "stage retrieval does not run"),
        (
            "rag.passages.retrieved",
            "query.max_question_chars=5",
            "stage query does not run; replay from rag.queries or",
        ),
        ("rag.queries.embedded", "embedder.model=x", "stage embedding does not run"),
        ("rag.queries", "bridge.port=1", "decides no answer"),
        ("rag.queries", "chunking.max_tokens=99", "decides no answer"),
        ("rag.queries", "embedder.model=x", "name that: --set milvus.collection=NAME"),
        ("rag.queries", "milvus.index_type=FLAT", "name that: --set milvus.collection=NAME"),
    ],
)
def test_a_change_without_effect_is_refused(topic: str, item: str, problem: str) -> None:
    with pytest.raises(ReplayError) as raised:
        effects(apply(Settings(), parse([item])), parse([item]), way_from(topic))
    assert problem in str(raised.value)


def test_another_collection_may_be_of_another_model() -> None:
    overrides = parse(["embedder.model=x", "milvus.collection=beside"])
    assert not effects(apply(Settings(), overrides), overrides, way_from("rag.queries"))


def test_what_the_query_stage_had_decided_is_decided_anew_where_it_does_not_run() -> None:
    overrides = parse(["query.template=brief", "query.max_tokens=7", "query.mode=sparse", "query.top_k=9"])
    changes = effects(apply(Settings(), overrides), overrides, way_from("rag.queries.embedded"))
    changed: Any = changes.made_to(PassagesRetrieved(query=QUERY, collection="c", embedding_model="m", passages=()))
    options = changed.query.options
    assert (options.template, options.top_k, options.min_score) == ("brief", 9, 0.1)
    assert (options.sampling.max_tokens, options.retrieval.mode) == (7, "sparse")
    assert not effects(apply(Settings(), overrides), overrides, way_from("rag.queries"))


def test_a_prompt_has_its_sampling_twice() -> None:
    overrides = parse(["query.temperature=0.5"])
    changes = effects(apply(Settings(), overrides), overrides, way_from("rag.prompts.built"))
    prompt = PromptBuilt(
        query=QUERY, template="d", template_hash="h", messages=(), prompt_tokens=1, sources=(), sampling=Sampling()
    )
    changed: Any = changes.made_to(prompt)
    assert changed.sampling.temperature == changed.query.options.sampling.temperature == 0.5


def test_workers_get_the_changes_as_their_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    overrides = parse(["query.top_k=9", "prompt.templates_path=/x", "query.tenants.default.top_k=4"])
    changed = apply(Settings(), overrides)
    variables = environment(changed, overrides)
    assert variables["RAGLINE_QUERY__TOP_K"] == "9"
    assert orjson.loads(variables["RAGLINE_QUERY__TENANTS"])["default"]["top_k"] == 4
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert Settings() == changed
