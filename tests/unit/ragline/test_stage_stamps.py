"""What decides all that a stage does, told from its settings."""

from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import pytest

from ragline.settings import Settings
from ragline.stamps import stamping
from ragline.versions import make_version
from schemas.stamps import Stamp

RAGLINE = version("ragline")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "config.json").write_text("{}")
    models = {"path": str(tmp_path), "model": "m"}
    return Settings.model_validate({"embedder": models | {"query_prompt": "query: "}, "engine": models})


def test_an_engine_is_told_with_its_model_and_version(settings: Settings) -> None:
    engine = settings.engine.model_copy(update={"kind": "transformers"})
    stamp = stamping("generation", settings.model_copy(update={"engine": engine}))()
    assert (stamp.ragline, stamp.model, stamp.engine) == (RAGLINE, "m", "transformers")
    assert stamp.engine_version == version("transformers")
    assert len(stamp.model_revision or "") == 32
    far = settings.engine.model_copy(update={"kind": "openai"})
    stamp = stamping("generation", settings.model_copy(update={"engine": far}))()
    assert (stamp.engine, stamp.engine_version, stamp.model_revision) == ("openai", None, None)


def test_an_embedder_is_told_with_its_backend_and_prompts(settings: Settings) -> None:
    stamp = stamping("embedding", settings)()
    assert (stamp.embedder, stamp.embedder_backend, stamp.embedder_precision) == ("m", "torch", "float32")
    assert (stamp.query_prompt, stamp.passage_prompt) == ("query: ", None)
    assert len(stamp.embedder_revision or "") == 32


def test_the_others_say_what_they_stand_on(settings: Settings) -> None:
    index = make_version(settings, 2, datetime.now(UTC))
    assert stamping("query", settings)() == Stamp(ragline=RAGLINE)
    assert stamping("retrieval", settings)().embedder is None
    stamp = stamping("indexing", settings, index)()
    assert (stamp.collection, stamp.index_version) == (settings.collection, 2)


def test_a_model_that_cannot_be_read_keeps_no_worker_from_starting(settings: Settings) -> None:
    embedder = settings.embedder.model_copy(update={"path": "/nowhere/at/all"})
    stamp = stamping("embedding", settings.model_copy(update={"embedder": embedder}))()
    assert (stamp.embedder, stamp.embedder_revision) == ("m", None)
