"""What every reranker keeps to: run on the twin in memory, on the embedding model and on a small cross-encoder."""

import math
import warnings
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from backends.cross_encoder import CrossEncoderReranker
from backends.embedder import EmbedderSettings
from backends.errors import BackendRejectedError
from backends.late_interaction import LateInteractionReranker
from backends.memory_reranker import SharedWordsReranker
from backends.reranker import CrossEncoderSettings, Reranker
from infra.local.models import embedder_path
from schemas.values import FloatArray

pytestmark = pytest.mark.asyncio(loop_scope="session")

QUESTION = "Who robbed the bank?"
NEAR = "The bank was robbed by a man in a grey coat."
FAR = "Coral reefs grow in shallow tropical water."


async def start(reranker: Reranker) -> Reranker:
    with warnings.catch_warnings():
        # The libraries of the models warn about each other while they are imported.
        warnings.simplefilter("ignore")
        await reranker.start()
    return reranker


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def late_interaction() -> AsyncIterator[Reranker]:
    reranker = await start(
        LateInteractionReranker(EmbedderSettings(path=str(embedder_path()), device="cpu"), cache_mb=1, max_tokens=512)
    )
    yield reranker
    await reranker.close()


def save_cross_encoder(folder: Path, labels: int) -> None:
    """A cross-encoder with the local embedder's tokenizer and few weights, which nobody trained."""
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification  # noqa: PLC0415 - seconds

    tokenizer = AutoTokenizer.from_pretrained(embedder_path())
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=128,
        num_labels=labels,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def cross_encoder(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Reranker]:
    folder = tmp_path_factory.mktemp("cross-encoder")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        save_cross_encoder(folder, labels=1)
    reranker = await start(CrossEncoderReranker(CrossEncoderSettings(path=str(folder), device="cpu")))
    yield reranker
    await reranker.close()


@pytest.fixture(
    params=[
        "shared_words",
        pytest.param("late_interaction", marks=pytest.mark.models),
        pytest.param("cross_encoder", marks=pytest.mark.models),
    ]
)
def reranker(request: pytest.FixtureRequest) -> Reranker:
    if request.param == "shared_words":
        return SharedWordsReranker()
    real: Reranker = request.getfixturevalue(request.param)
    return real


async def test_no_passages_give_no_scores(reranker: Reranker) -> None:
    assert await reranker.score(QUESTION, []) == []


@pytest.mark.parametrize("text", ["", " \n", "漢字 😀 ünï", "\x00\x01\x7f", "word " * 5_000, "x" * 20_000])
async def test_every_text_gets_a_finite_score(reranker: Reranker, text: str) -> None:
    scores = [*await reranker.score(QUESTION, [text, NEAR]), *await reranker.score(text, [NEAR])]
    assert len(scores) == 3
    assert all(math.isfinite(score) for score in scores)


async def test_a_score_does_not_depend_on_the_other_passages(reranker: Reranker) -> None:
    passages = [NEAR, FAR, "word " * 300, ""]
    together = await reranker.score(QUESTION, passages)
    alone = [score for passage in passages for score in await reranker.score(QUESTION, [passage])]
    assert together == pytest.approx(alone, abs=1e-4)
    assert await reranker.score(QUESTION, passages[::-1]) == pytest.approx(together[::-1], abs=1e-4)


@pytest.mark.parametrize("name", ["shared_words", pytest.param("late_interaction", marks=pytest.mark.models)])
async def test_what_answers_comes_first(name: str, request: pytest.FixtureRequest) -> None:
    reranker = SharedWordsReranker() if name == "shared_words" else request.getfixturevalue(name)
    far, near = await reranker.score(QUESTION, [FAR, NEAR])
    assert near > far


@pytest.mark.models
async def test_what_was_read_is_read_no_more_while_there_is_room() -> None:
    read: list[str] = []

    class Counting(LateInteractionReranker):
        def _token_vectors(self, texts: list[str]) -> list[FloatArray]:
            read.extend(texts)
            return super()._token_vectors(texts)

    # A token has 384 half-precision numbers: 1 MiB are some 1,365 tokens.
    reranker = Counting(EmbedderSettings(path=str(embedder_path()), device="cpu"), cache_mb=1, max_tokens=256)
    await start(reranker)
    long = [f"{number} " + "word " * 300 for number in range(6)]
    try:
        first = await reranker.score(QUESTION, [NEAR, FAR, NEAR])
        assert first[0] == first[2]
        assert read == [QUESTION, NEAR, FAR]
        assert await reranker.score(QUESTION, [FAR, NEAR]) == pytest.approx([first[1], first[0]], abs=1e-4)
        assert read[3:] == [QUESTION]
        await reranker.score(QUESTION, long)
        await reranker.score(QUESTION, [NEAR])
        assert read[4:] == [QUESTION, *long, QUESTION, NEAR]
    finally:
        await reranker.close()


@pytest.mark.models
@pytest.mark.parametrize(("max_tokens", "is_read"), [(256, False), (512, True), (10_000, True)])
async def test_as_much_of_a_passage_is_read_as_is_set_and_the_model_has_positions_for(
    max_tokens: int, *, is_read: bool
) -> None:
    reranker = LateInteractionReranker(EmbedderSettings(path=str(embedder_path()), device="cpu"), 1, max_tokens)
    await start(reranker)
    before = "coral " * 300
    try:
        # The same as far as 256 tokens go.
        without, with_answer = await reranker.score(QUESTION, [before + FAR, before + NEAR])
        assert (with_answer > without + 0.1) is is_read
    finally:
        await reranker.close()


@pytest.mark.models
async def test_a_model_that_is_not_there_or_is_no_reranker_is_refused(tmp_path: Path) -> None:
    missing = CrossEncoderReranker(CrossEncoderSettings(path="/nowhere/at/all"))
    with pytest.raises(BackendRejectedError, match=r"no model at '/nowhere/at/all' \(setting cross_encoder.path\)"):
        await start(missing)
    await missing.close()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        save_cross_encoder(tmp_path, labels=3)
    classifier = CrossEncoderReranker(CrossEncoderSettings(path=str(tmp_path)))
    with pytest.raises(BackendRejectedError, match="gives 3 scores per pair"):
        await start(classifier)
    await classifier.close()
