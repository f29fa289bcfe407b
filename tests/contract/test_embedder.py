"""What every embedder keeps to: run on the twin in memory and on the local stack's model."""

import asyncio
import warnings
from collections.abc import AsyncIterator

import numpy as np
import pytest
import pytest_asyncio

from backends.embedder import Embedder, EmbedderSettings
from backends.errors import BackendRejectedError
from backends.memory_embedder import HashedEmbedder
from backends.sentence_transformers_embedder import SentenceTransformersEmbedder
from infra.local.models import embedder_path

pytestmark = pytest.mark.asyncio(loop_scope="session")

QUESTION = "Who robbed the bank?"
NEAR = "The bank was robbed by a man in a grey coat."
FAR = "Coral reefs grow in shallow tropical water."


def settings(**changes: object) -> EmbedderSettings:
    return EmbedderSettings.model_validate({"path": str(embedder_path()), "device": "cpu"} | changes)


async def start(embedder: Embedder) -> None:
    with warnings.catch_warnings():
        # The libraries of the models warn about each other while they are imported.
        warnings.simplefilter("ignore")
        await embedder.start()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def model() -> AsyncIterator[Embedder]:
    started = SentenceTransformersEmbedder(settings())
    await start(started)
    yield started
    await started.close()


@pytest.fixture(params=["hashed", pytest.param("model", marks=pytest.mark.models)])
def embedder(request: pytest.FixtureRequest) -> Embedder:
    if request.param == "hashed":
        return HashedEmbedder()
    real: Embedder = request.getfixturevalue("model")
    return real


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


async def test_a_text_gives_the_same_vector_in_any_company(embedder: Embedder) -> None:
    alone = await embedder.embed([QUESTION])
    batch = await embedder.embed([FAR * 20, QUESTION, "", *[NEAR] * 40, QUESTION])
    assert np.allclose(batch[1], alone[0], atol=1e-5)
    assert np.allclose(batch[-1], alone[0], atol=1e-5)


async def test_a_prompt_is_read_before_each_text(embedder: Embedder) -> None:
    prompted = await embedder.embed([QUESTION, FAR], "query: ")
    written = await embedder.embed([f"query: {QUESTION}", f"query: {FAR}"])
    assert np.allclose(prompted, written, atol=1e-5)
    assert not np.allclose(prompted, await embedder.embed([QUESTION, FAR]), atol=1e-3)


async def test_texts_alike_are_near(embedder: Embedder) -> None:
    question, near, far = await embedder.embed([QUESTION, NEAR, FAR])
    assert question @ near > question @ far + 0.2


async def test_embeds_for_many_callers_at_once(embedder: Embedder) -> None:
    alone = await embedder.embed([QUESTION])
    several = await asyncio.gather(*(embedder.embed([QUESTION, f"number {n}"]) for n in range(5)))
    assert all(np.allclose(vectors[0], alone[0], atol=1e-5) for vectors in several)


async def test_refuses_what_is_not_unicode_and_goes_on(embedder: Embedder) -> None:
    with pytest.raises(BackendRejectedError):
        await embedder.embed([QUESTION, "\ud800"])
    assert (await embedder.embed([QUESTION])).shape == (1, embedder.dimensions)


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
