from datetime import UTC, datetime

from replay.index import index_of_run
from schemas.events import IndexChanged, IndexVersion

AT = datetime(2026, 1, 1, tzinfo=UTC)


def version(number: int) -> IndexVersion:
    return IndexVersion(
        version=number, collection=f"rag_chunks_v{number}", embedding_model=f"model-{number}", settings={}, made_at=AT
    )


SAID = IndexChanged(
    alias="rag_chunks", live=version(2), previous=version(1), building=version(3), last=3, by="reindex", at=AT
)


def test_a_run_searches_what_is_live() -> None:
    assert index_of_run(SAID, "rag_chunks") == SAID


def test_a_run_may_name_the_collection_of_any_version() -> None:
    for number in (1, 2, 3):
        kept = index_of_run(SAID, f"rag_chunks_v{number}")
        assert kept
        assert (kept.alias, kept.versions) == (f"rag_chunks_v{number}", (version(number),))


def test_a_collection_of_no_version_has_its_settings_from_the_run() -> None:
    assert index_of_run(SAID, "others") is None
