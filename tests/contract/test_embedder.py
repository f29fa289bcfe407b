"""What every embedder keeps to: run on the twin in memory, each backend of the local stack's model, and a cache."""

import asyncio
import warnings
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from backends.cached_embedder import CachedEmbedder
from backends.embedder import Embedder, EmbedderSettings
from backends.errors import BackendRejectedError
from backends.memory_embedder import HashedEmbedder
from backends.memory_embedding_cache import MemoryEmbeddingCache
from backends.sentence_transformers_embedder import SentenceTransformersEmbedder
from infra.local.embedder_graph import prepare_graph
from infra.local.models import embedder_path
from schemas.values import FloatArray
from tests.fixtures.servers import SHARED_DATA_DIR, screen

pytestmark = pytest.mark.asyncio(loop_scope="session")

QUESTION = "Who robbed the bank?"
NEAR = "The bank was robbed by a man in a grey coat."
FAR = "Coral reefs grow in shallow tropical water."

EXACTLY = 1 - 1e-6
# Least cosine of the same text's vectors: between batches, and to torch in float32. Quantised activations share one
# scale in a batch.
CLOSENESS = {
    "torch float32": EXACTLY,
    "torch bfloat16": 0.999,
    "onnx float32": EXACTLY,
    "onnx int8": 0.96,
    "openvino float32": EXACTLY,
    "openvino bfloat16": 0.999,
}


def settings(**changes: object) -> EmbedderSettings:
    return EmbedderSettings.model_validate({"path": str(embedder_path()), "device": "cpu"} | changes)


async def start(embedder: Embedder) -> None:
    with warnings.catch_warnings():
        # The libraries of the models warn about each other while they are imported.
        warnings.simplefilter("ignore")
        await embedder.start()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def models(pytestconfig: pytest.Config) -> AsyncIterator[dict[str, Embedder]]:
    """Each backend, started when it is first asked for."""
    started: dict[str, Embedder] = {}

    class Backends(dict[str, Embedder]):
        def __missing__(self, name: str) -> Embedder:
            backend, precision = name.split()
            chosen = settings(backend=backend, precision=precision)

            def export(model: Path) -> Path:
                return prepare_graph(SHARED_DATA_DIR, model, chosen, screen(pytestconfig))

            started[name] = self[name] = SentenceTransformersEmbedder(chosen, export)
            return started[name]

    yield Backends()
    for embedder in started.values():
        await embedder.close()


async def running(models: dict[str, Embedder], name: str) -> Embedder:
    known = name in models
    embedder = models[name]
    if not known:
        await start(embedder)
    return embedder


@pytest_asyncio.fixture(loop_scope="session")
async def model(models: dict[str, Embedder]) -> Embedder:
    return await running(models, "torch float32")


@pytest_asyncio.fixture(
    loop_scope="session",
    params=["hashed", "cached", *(pytest.param(name, marks=pytest.mark.models) for name in CLOSENESS)],
)
async def embedder(request: pytest.FixtureRequest, models: dict[str, Embedder]) -> Embedder:
    if request.param == "hashed":
        return HashedEmbedder()
    if request.param == "cached":
        cached = CachedEmbedder(HashedEmbedder(), MemoryEmbeddingCache(), lambda: "1", "embedding")
        await cached.start()
        return cached
    return await running(models, request.param)


@pytest.fixture
def closeness(request: pytest.FixtureRequest) -> float:
    """Least cosine of two vectors of one text."""
    return CLOSENESS.get(request.node.callspec.params["embedder"], EXACTLY)


def cosines(some: FloatArray, others: Sequence[FloatArray] | FloatArray) -> FloatArray:
    found: FloatArray = (some * np.asarray(others)).sum(axis=-1)
    return found


async def test_no_texts_give_no_vectors(embedder: Embedder) -> None:
    vectors = await embedder.embed([])
    assert vectors.shape == (0, embedder.dimensions)
    assert vectors.dtype == np.float32


@pytest.mark.parametrize(
    "text", [QUESTION, "", " \n", "漢字 😀 ünï", "\x00\x01\x7f\u2028", "word " * 20_000, "x" * 100_000]
)
async def test_every_text_gives_a_finite_vector_of_unit_length(embedder: Embedder, text: str) -> None:
    vectors = await embedder.embed([text])
    assert vectors.shape == (1, embedder.dimensions)
    assert vectors.dtype == np.float32
    assert np.isfinite(vectors).all()
    assert np.linalg.norm(vectors) == pytest.approx(1, abs=1e-5)


async def test_a_text_gives_the_same_vector_in_any_company(embedder: Embedder, closeness: float) -> None:
    alone = await embedder.embed([QUESTION])
    batch = await embedder.embed([FAR * 20, QUESTION, "", *[NEAR] * 40, QUESTION])
    assert cosines(batch[[1, -1]], alone).min() >= closeness


async def test_vectors_are_in_the_order_of_their_texts(embedder: Embedder, closeness: float) -> None:
    texts = [f"{NEAR if number % 3 else FAR} {'again ' * (number * 7 % 11)}" for number in range(40)]
    together = await embedder.embed(texts)
    alone = np.concatenate([await embedder.embed([text]) for text in texts])
    assert cosines(together, alone).min() >= closeness


async def test_a_prompt_is_read_before_each_text(embedder: Embedder, closeness: float) -> None:
    prompted = await embedder.embed([QUESTION, FAR], "query: ")
    written = await embedder.embed([f"query: {QUESTION}", f"query: {FAR}"])
    assert cosines(prompted, written).min() >= closeness
    assert not np.allclose(prompted, await embedder.embed([QUESTION, FAR]), atol=1e-3)


async def test_texts_alike_are_near(embedder: Embedder) -> None:
    question, near, far = await embedder.embed([QUESTION, NEAR, FAR])
    assert question @ near > question @ far + 0.2


async def test_embeds_for_many_callers_at_once(embedder: Embedder, closeness: float) -> None:
    alone = await embedder.embed([QUESTION])
    several = await asyncio.gather(*(embedder.embed([QUESTION, f"number {n}"]) for n in range(5)))
    assert cosines(np.stack([vectors[0] for vectors in several]), alone).min() >= closeness


async def test_refuses_what_is_not_unicode_and_goes_on(embedder: Embedder) -> None:
    with pytest.raises(BackendRejectedError):
        await embedder.embed([QUESTION, "\ud800"])
    assert (await embedder.embed([QUESTION])).shape == (1, embedder.dimensions)


@pytest.mark.models
@pytest.mark.parametrize("name", [name for name in CLOSENESS if name != "torch float32"])
async def test_every_backend_gives_the_vectors_of_torch(
    models: dict[str, Embedder], model: Embedder, name: str
) -> None:
    texts = [QUESTION, NEAR, FAR, "", "漢字 😀 ünï", NEAR * 5, FAR * 40, "x" * 1_000, "word " * 300]
    found = await (await running(models, name)).embed(texts)
    assert cosines(found, await model.embed(texts)).min() >= CLOSENESS[name]


@pytest.mark.models
async def test_the_event_loop_runs_on_meanwhile(model: Embedder) -> None:
    embedding = asyncio.create_task(model.embed([NEAR * 20] * 32))
    longest, last = 0.0, asyncio.get_running_loop().time()
    while not embedding.done():
        await asyncio.sleep(0.005)
        now = asyncio.get_running_loop().time()
        longest, last = max(longest, now - last), now
    await embedding
    assert longest < 1, "heartbeats come every three seconds"


@pytest.mark.models
@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"path": "/nowhere/at/all"}, "no model at '/nowhere/at/all'"),
        ({"dimensions": 100}, "vectors of length 384; set embedder.dimensions"),
    ],
)
async def test_a_model_that_cannot_be_used_is_refused_in_a_sentence(changes: dict[str, object], sentence: str) -> None:
    refused = SentenceTransformersEmbedder(settings(**changes))
    with pytest.raises(BackendRejectedError, match=sentence):
        await start(refused)
    await refused.close()
