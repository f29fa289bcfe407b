import pytest

from replay.errors import ReplayError
from replay.topology import RETENTION_MS, replayable, way_from
from topics.specs import CONTROL, INDEXES, PASSAGES_RETRIEVED, PROMPTS_BUILT, QUERIES, QUERIES_EMBEDDED


@pytest.mark.parametrize(
    ("topic", "stages", "outputs"),
    [
        (
            "rag.queries",
            ("query", "embedding", "retrieval", "prompt", "generation"),
            [
                "rag.queries.accepted",
                "rag.queries.embedded",
                "rag.passages.retrieved",
                "rag.prompts.built",
                "rag.answers",
            ],
        ),
        ("rag.passages.retrieved", ("prompt", "generation"), ["rag.prompts.built", "rag.answers"]),
        ("rag.prompts.built", ("generation",), ["rag.answers"]),
    ],
)
def test_a_way_has_the_stages_that_follow(topic: str, stages: tuple[str, ...], outputs: list[str]) -> None:
    way = way_from(topic)
    assert (way.stages, [spec.name for spec in way.outputs]) == (stages, outputs)


def test_every_way_ends_with_the_answers_and_every_topic_of_it_is_bounded() -> None:
    for topic in replayable():
        way = way_from(topic)
        assert way.outputs[-1].name == "rag.answers"
        assert all(0 < spec.retention_ms <= RETENTION_MS for spec in way.topics)


def test_a_way_needs_what_its_stages_listen_to() -> None:
    names = {spec.name for spec in way_from(PASSAGES_RETRIEVED.name).topics}
    assert {CONTROL.name, f"{PASSAGES_RETRIEVED.name}.dead-letters", f"{PROMPTS_BUILT.name}.dead-letters"} <= names
    assert INDEXES.name not in names


@pytest.mark.parametrize("topic", [QUERIES.name, QUERIES_EMBEDDED.name])
def test_a_way_that_searches_needs_to_know_the_index(topic: str) -> None:
    assert INDEXES.name in {spec.name for spec in way_from(topic).topics}


@pytest.mark.parametrize(
    ("topic", "problem"),
    [
        ("rag.answers", "no stage of a request reads"),
        ("rag.documents", "no stage"),
        ("rag.nothing", "there is no topic"),
    ],
)
def test_a_topic_that_no_stage_of_a_request_reads_is_refused(topic: str, problem: str) -> None:
    with pytest.raises(ReplayError, match=f"{problem}.*replay from one of rag.queries, "):
        way_from(topic)
