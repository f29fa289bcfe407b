"""What a re-index decides, without servers."""

import random
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from ragline.cli import Context, app
from ragline.reindex.errors import ReindexError
from ragline.reindex.options import Options, with_options
from ragline.reindex.plan import activated, begun, plan_reindex, without
from ragline.reindex.tally import Ended, Submitted, Tally
from ragline.settings import Settings, SettingsError
from ragline.versions import differences, make_version, recorded, state_of, with_version
from schemas.events import DocumentFailed, DocumentIndexed

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SETTINGS = Settings()


# --- options ---------------------------------------------------------------------------------------------------


def test_options_change_what_they_name() -> None:
    changed = with_options(
        SETTINGS, Options(index="IVF_FLAT,nlist=256,nprobe=8,metric=IP", chunking="max_tokens=300,overlap_tokens=40")
    )
    assert (changed.milvus.index_type, changed.milvus.metric) == ("IVF_FLAT", "IP")
    assert (changed.milvus.built_with, changed.milvus.searched_with(5)) == ({"nlist": 256}, {"nprobe": 8})
    assert (changed.chunking.max_tokens, changed.chunking.overlap_tokens) == (300, 40)
    assert changed.embedder == SETTINGS.embedder
    assert differences(SETTINGS, changed)["chunking.max_tokens"] == (200, 300)


def test_parameters_of_another_index_are_dropped_and_those_of_the_same_stay() -> None:
    flat = with_options(SETTINGS, Options(index="HNSW,M=8"))
    assert with_options(flat, Options(index="ef=99")).milvus.built_with == {"M": 8, "efConstruction": 200}
    assert with_options(flat, Options(index="IVF_SQ8")).milvus.index_params == {}


def test_a_model_folder_tells_its_name_and_dimensions(tmp_path: Path) -> None:
    model = tmp_path / "e5-small"
    (model / "1_Pooling").mkdir(parents=True)
    (model / "1_Pooling" / "config.json").write_text('{"word_embedding_dimension": 256}')
    changed = with_options(SETTINGS, Options(embedder=str(model))).embedder
    assert (changed.model, changed.path, changed.dimensions) == ("e5-small", str(model), 256)
    named = with_options(SETTINGS, Options(embedder=f"{model},model=mine,dimensions=128")).embedder
    assert (named.model, named.dimensions) == ("mine", 128)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (Options(index="HSNW"), r"--index: index_type: Input should be 'HNSW', 'IVF_FLAT'"),
        (Options(index="HNSW,nlist=4"), r"--index: index_params has nlist, but HNSW knows M, efConstruction"),
        (Options(index="HNSW,color=red"), r"--index knows no color; it knows M,"),
        (Options(index="HNSW,M=many"), r"--index: index_params.M: Input should be a valid integer"),
        (Options(index="HNSW,FLAT"), r"--index takes NAME=VALUE,…, each name once; 'FLAT' is not such a pair"),
        (Options(chunking="max_tokens=10,max_tokens=20"), r"each name once"),
        (Options(chunking="size=3"), r"--chunking: size: Extra inputs are not permitted"),
        (Options(chunking="max_tokens=20"), r"chunking.overlap_tokens must be less than chunking.max_tokens"),
        (Options(embedder="/no/such/model"), r"--embedder: there is no folder /no/such/model"),
        (Options(embedder="intfloat/e5"), r"how long the vectors of intfloat/e5 are is not known here; add dimensions"),
    ],
    ids=str,
)
def test_bad_options_get_one_sentence(options: Options, sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence) as error:
        with_options(SETTINGS, options)
    assert "\n" not in str(error.value)


# --- versions --------------------------------------------------------------------------------------------------


def test_a_version_brings_its_settings_along_but_not_the_worker_s() -> None:
    wanted = with_options(SETTINGS, Options(chunking="max_tokens=300", embedder="model=m,dimensions=8"))
    version = make_version(wanted, 2, NOW)
    elsewhere = SETTINGS.model_copy(
        update={"embedder": SETTINGS.embedder.model_copy(update={"device": "cuda", "path": "/models/here"})}
    )
    settings = with_version(elsewhere, version)
    assert (settings.chunking.max_tokens, settings.milvus.collection) == (300, "ragline_v2")
    assert (settings.embedder.model, settings.embedder.dimensions) == ("m", 8)
    assert (settings.embedder.device, settings.embedder.path) == ("cuda", "/models/here")


def test_a_version_of_a_newer_release_is_refused() -> None:
    version = make_version(SETTINGS, 2, NOW).model_copy(update={"settings": {"chunking": {"moon": "full"}}})
    with pytest.raises(SettingsError, match="version 2 of the index was made with settings that cannot be used here"):
        with_version(SETTINGS, version)


def test_before_anything_is_said_the_first_version_is_live() -> None:
    state = state_of(SETTINGS, None, NOW)
    assert (state.live.version, state.live.collection, state.last) == (1, "ragline_v1", 1)
    other = SETTINGS.model_copy(update={"milvus": SETTINGS.milvus.model_copy(update={"collection": "other"})})
    with pytest.raises(SettingsError, match=r"the index of this pipeline is called 'ragline'"):
        state_of(other, state, NOW)


# --- plans -----------------------------------------------------------------------------------------------------


def test_a_reindex_goes_from_begun_to_live_and_keeps_what_was() -> None:
    first = state_of(SETTINGS, None, NOW)
    wanted = with_options(SETTINGS, Options(chunking="max_tokens=300"))
    plan = plan_reindex(first, wanted, NOW)
    assert (plan.target.version, plan.resumes, plan.removes) == (2, False, None)
    building = begun(first, plan.target, "me", NOW)
    assert plan_reindex(building, wanted, NOW).resumes
    other = plan_reindex(building, SETTINGS, NOW)
    assert (other.target.version, other.removes) == (3, plan.target)

    live = activated(building, plan.target, "me", NOW)
    assert (live.live, live.previous, live.building, live.last) == (plan.target, first.live, None, 2)
    with pytest.raises(ReindexError, match="ragline_v1 is kept from the last re-index; give it up first"):
        plan_reindex(live, wanted, NOW)
    back = activated(live, first.live, "me", NOW)
    assert (back.live, back.previous, back.last) == (first.live, plan.target, 2)


def test_a_number_is_never_given_twice() -> None:
    state = state_of(SETTINGS, None, NOW)
    plan = plan_reindex(state, SETTINGS, NOW)
    gone = without(begun(state, plan.target, "me", NOW), plan.target.collection, "me", NOW)
    assert gone.building is None
    assert plan_reindex(gone, SETTINGS, NOW).target.version == 3
    with pytest.raises(ReindexError, match="ragline_v1 is the live collection"):
        without(gone, "ragline_v1", "me", NOW)
    with pytest.raises(ReindexError, match="ragline_v2 is no collection of the index"):
        without(gone, "ragline_v2", "me", NOW)


def test_what_is_recorded_says_nothing_of_the_machine() -> None:
    kept = recorded(SETTINGS)
    assert isinstance(kept["milvus"], dict)
    assert not {"uri", "token", "timeout_ms", "collection"} & kept["milvus"].keys()
    assert isinstance(kept["embedder"], dict)
    assert not {"device", "path"} & kept["embedder"].keys()


# --- the tally -------------------------------------------------------------------------------------------------


def indexed(revision: str, chunks: int, tenant: str = "t") -> Ended:
    return Ended.of(
        DocumentIndexed(document_id="d", revision=revision, tenant=tenant, chunks=chunks, added=0, removed=0)
    )


def failed(revision: str) -> Ended:
    return Ended.of(
        DocumentFailed(document_id="d", revision=revision, tenant="t", stage="chunking", code="c", message="no")
    )


def test_a_document_is_pending_until_its_last_revision_has_ended() -> None:
    tally = Tally()
    tally.submit("d", Submitted(0, 3, "a"))
    tally.submit("d", Submitted(0, 9, "b"))
    tally.end("d", indexed("a", 2))
    assert (tally.records, tally.pending, tally.behind({0: 10}), tally.behind({0: 9})) == (1, 1, 1, 0)
    tally.end("d", indexed("b", 5))
    assert (tally.pending, tally.searchable, tally.chunks) == (0, 1, {"t": 5})
    # A worker that was killed does the older one again, and then the newer one.
    tally.end("d", indexed("a", 2))
    assert tally.pending == 1


def test_what_ended_before_it_was_read_counts() -> None:
    tally = Tally()
    tally.end("d", indexed("a", 1))
    assert [document for document, _ in tally.orphans()] == ["d"]
    tally.submit("d", Submitted(0, 0, "a"))
    assert (tally.pending, list(tally.orphans())) == (0, [])


def test_a_withdrawal_is_no_document() -> None:
    tally = Tally()
    tally.submit("d", Submitted(0, 0, "a"))
    tally.end("d", indexed("a", 1))
    tally.submit("d", Submitted(0, 1, "gone", is_withdrawal=True))
    assert (tally.documents, tally.pending) == (0, 1)
    tally.end("d", indexed("gone", 0))
    assert (tally.documents, tally.pending, tally.searchable, tally.chunks.total()) == (0, 0, 0, 0)


def test_of_a_document_that_fails_the_older_chunks_stay() -> None:
    tally = Tally()
    tally.submit("d", Submitted(0, 0, "a"))
    tally.end("d", indexed("a", 3))
    tally.submit("d", Submitted(0, 1, "b"))
    tally.end("d", failed("b"))
    assert (tally.pending, tally.chunks["t"], tally.failures) == (0, 3, {"d": "chunking: no"})
    assert tally.is_searchable("d")


def test_a_text_by_reference_and_an_unreadable_document_end_with_whatever_is_said() -> None:
    tally = Tally()
    tally.submit("far", Submitted(0, 0, None))
    tally.submit("bad", Submitted(0, 1, ""))
    tally.end("far", indexed("whatever", 1))
    tally.end("bad", failed(""))
    assert (tally.pending, tally.failures) == (0, {"bad": "chunking: no"})


def test_a_sample_holds_each_document_once() -> None:
    tally = Tally()
    for number in range(5):
        tally.end(f"d{number}", indexed("a", 1))
    found = tally.sample(50, random.Random(1))
    assert sorted(document for document, _ in found) == [f"d{number}" for number in range(5)]
    assert tally.is_still(*found[0])
    tally.end(found[0][0], indexed("b", 2))
    assert not tally.is_still(*found[0])


# --- the command -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (["--rollback", "--index", "FLAT"], 1, "--rollback takes no other settings, and no --dry-run"),
        (["--scale", "indexing"], 1, "--scale takes STAGE=N, such as generation=2, not 'indexing'"),
        (["--samples", "0"], 2, "Invalid value for '--samples'"),
    ],
    ids=str,
)
def test_a_wrong_command_gets_one_sentence(arguments: list[str], status: int, sentence: str) -> None:
    result = CliRunner().invoke(app, ["reindex", *arguments, "--json"], obj=Context(SETTINGS, None))
    assert result.exit_code == status
    assert sentence in result.stderr
    assert "Traceback" not in result.output
    if status == 1:
        assert orjson.loads(result.stdout) == {"ok": False, "error": sentence}
