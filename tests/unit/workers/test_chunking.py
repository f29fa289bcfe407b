"""The chunking stage."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from backends.errors import BackendUnavailableError
from backends.references import References, ReferenceSettings
from backends.vector_store import MAX_DOCUMENT_ID_BYTES, MAX_SOURCE_BYTES, MAX_TENANT_BYTES, MAX_TITLE_BYTES
from schemas.events import DocumentChunked, DocumentSubmitted, DocumentWithdrawn
from schemas.headers import Headers, Origin
from workers.chunking import ChunkingStage
from workers.runtime.stage import Delivery, Outcome, Produce, RejectedError, RetryableError
from workers.settings import ChunkingSettings

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
FIRST = "one two three four five."
SECOND = "six seven eight nine ten."
TEXT = f"{FIRST}\n\n{SECOND}\n\n{FIRST}"


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[ChunkingStage]:
    words = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.save(str(tmp_path / "tokenizer.json"))
    stage = make_stage(tmp_path)
    await stage.start()
    yield stage
    await stage.stop()


def make_stage(
    model: Path,
    name: str = "embedder",
    references: ReferenceSettings | None = None,
    prompt: str = "",
    **settings: object,
) -> ChunkingStage:
    chosen = ChunkingSettings.model_validate(
        {"max_tokens": 5, "overlap_tokens": 0, "max_document_chars": 100} | settings
    )
    return ChunkingStage(chosen, model, name, "default", References(references or ReferenceSettings()), prompt)


def deliver(
    text: str | None = TEXT, *, key: str = "doc", headers: Headers | None = None, **fields: str
) -> Delivery[DocumentSubmitted | DocumentWithdrawn]:
    event = DocumentWithdrawn() if text is None else DocumentSubmitted(text=text, **fields)
    return Delivery(key, event, headers or Headers(), Origin("rag.documents", 0, 0), NOW)


def chunked(outcome: Outcome) -> DocumentChunked:
    assert isinstance(outcome, Produce), outcome
    [event] = outcome.events
    assert isinstance(event, DocumentChunked)
    return event


async def test_a_document_becomes_chunks_in_order(stage: ChunkingStage) -> None:
    event = chunked(await stage.handle(deliver(title="Title", source="file.txt")))
    assert (event.document_id, event.tenant, event.title, event.source) == ("doc", "default", "Title", "file.txt")
    assert [chunk.text for chunk in event.chunks] == [FIRST, SECOND, FIRST]
    assert [chunk.ordinal for chunk in event.chunks] == [0, 1, 2]
    assert all(TEXT[chunk.start : chunk.end] == chunk.text for chunk in event.chunks)


async def test_the_same_text_twice_gets_two_ids(stage: ChunkingStage) -> None:
    event = chunked(await stage.handle(deliver()))
    assert len({chunk.chunk_id for chunk in event.chunks}) == 3


async def test_the_same_document_gives_the_same_event(stage: ChunkingStage) -> None:
    assert await stage.handle(deliver()) == await stage.handle(deliver())


async def test_an_edit_leaves_the_ids_of_other_chunks(stage: ChunkingStage) -> None:
    before = chunked(await stage.handle(deliver()))
    after = chunked(await stage.handle(deliver(f"new here.\n\n{SECOND}\n\n{FIRST}")))
    assert after.revision != before.revision
    assert after.chunks[1].chunk_id == before.chunks[1].chunk_id
    assert after.chunks[2].chunk_id == before.chunks[0].chunk_id


@pytest.mark.parametrize(
    "other", [{"title": "Other"}, {"source": "other"}, {"tenant": "other"}, {"key": "other"}, {"text": "other"}]
)
async def test_what_a_chunk_is_stored_with_is_in_its_id(stage: ChunkingStage, other: dict[str, str]) -> None:
    one = chunked(await stage.handle(deliver("text")))
    two = chunked(await stage.handle(deliver(**{"text": "text", **other})))
    assert one.chunks[0].chunk_id != two.chunks[0].chunk_id


async def test_the_tenant_is_the_events_then_the_headers_then_the_default(stage: ChunkingStage) -> None:
    headers = Headers(tenant="of headers")
    assert chunked(await stage.handle(deliver(tenant="of event", headers=headers))).tenant == "of event"
    assert chunked(await stage.handle(deliver(headers=headers))).tenant == "of headers"
    assert chunked(await stage.handle(deliver(None, headers=headers))).tenant == "of headers"
    assert chunked(await stage.handle(deliver())).tenant == "default"


@pytest.mark.parametrize("text", [None, "", " \n\t"])
async def test_a_document_without_text_is_removed(stage: ChunkingStage, text: str | None) -> None:
    event = chunked(await stage.handle(deliver(text)))
    assert event.document_id == "doc"
    assert event.chunks == ()


@pytest.mark.parametrize(
    ("delivery", "sentence"),
    [
        (deliver("x" * 101), "The document has 101 characters; 100 are allowed."),
        (deliver("a\x00b"), "The document's text holds a NUL character at 1; it must be text."),
        (deliver("ab\ud800"), "The document's text is not valid Unicode at character 2."),
        (deliver(title="\ud800"), "The document's title is not valid Unicode at character 0."),
        (deliver(title="t" * (MAX_TITLE_BYTES + 1)), "The document's title has 4097 bytes; 4096 are allowed."),
        (deliver(source="s" * (MAX_SOURCE_BYTES + 1)), "The document's source has 4097 bytes; 4096 are allowed."),
        (deliver(tenant="ä" * MAX_TENANT_BYTES), "The document's tenant has 512 bytes; 256 are allowed."),
        (
            deliver(key="k" * (MAX_DOCUMENT_ID_BYTES + 1)),
            "The document's document ID has 1025 bytes; 1024 are allowed.",
        ),
    ],
)
async def test_a_document_that_cannot_be_stored_is_rejected_in_a_sentence(
    stage: ChunkingStage, delivery: Delivery[DocumentSubmitted | DocumentWithdrawn], sentence: str
) -> None:
    outcome = await stage.handle(delivery)
    assert isinstance(outcome, RejectedError)
    assert (outcome.code, str(outcome)) == ("bad_document", sentence)


async def test_markdown_goes_by_its_source(stage: ChunkingStage) -> None:
    text = "a b\n# f\n\ng h"
    plain = chunked(await stage.handle(deliver(text, source="notes.txt")))
    markdown = chunked(await stage.handle(deliver(text, source="notes.MD")))
    assert [chunk.text for chunk in plain.chunks] == ["a b\n# f", "g h"]
    assert [chunk.text for chunk in markdown.chunks] == ["a b", "# f\n\ng h"]
    assert [chunk.text for chunk in chunked(await stage.handle(deliver(text, source="notes.docx"))).chunks] == [
        "a b",
        "# f\n\ng h",
    ]


@pytest.mark.usefixtures("stage")
async def test_the_strategy_is_a_setting(tmp_path: Path) -> None:
    text = "a b\n# f\n\ng h"
    for strategy, first in (("markdown", "a b"), ("text", "a b\n# f")):
        chosen = make_stage(tmp_path, strategy=strategy)
        await chosen.start()
        for source in ("notes.txt", "notes.md"):
            assert chunked(await chosen.handle(deliver(text, source=source))).chunks[0].text == first


async def test_a_chunk_carries_title_and_headings_beside_its_text(stage: ChunkingStage) -> None:
    text = "# One\n\na b c\n\n## Two\n\nd e f\n\n# Three\n\ng h i"
    event = chunked(await stage.handle(deliver(text, title="The\ntitle", source="notes.md")))
    assert [(chunk.text, chunk.context) for chunk in event.chunks] == [
        ("# One\n\na b c", "The title"),
        ("## Two\n\nd e f", "The title > One"),
        ("# Three\n\ng h i", "The title"),
    ]
    again = chunked(await stage.handle(deliver(text.replace("One", "Other"), title="The\ntitle", source="notes.md")))
    assert [old.chunk_id == new.chunk_id for old, new in zip(event.chunks, again.chunks, strict=True)] == [
        False,
        False,  # its vector is of the heading over it, too
        True,
    ]


@pytest.mark.usefixtures("stage")
async def test_context_keeps_to_its_tokens_and_may_be_none(tmp_path: Path) -> None:
    short, none = make_stage(tmp_path, context_tokens=3), make_stage(tmp_path, context_tokens=0)
    await short.start()
    await none.start()
    delivery = deliver("# One\n\n## Two\n\na b c d e", title="Title", source="notes.md")
    assert chunked(await short.handle(delivery)).chunks[-1].context == "Title > Two"
    assert chunked(await none.handle(delivery)).chunks[-1].context == ""


@pytest.mark.parametrize("changes", [{"name": "other"}, {"prompt": "passage: "}])
async def test_another_embedding_model_or_prompt_gives_other_chunks(
    stage: ChunkingStage, tmp_path: Path, changes: dict[str, str]
) -> None:
    other = make_stage(tmp_path, **changes)  # type: ignore[arg-type]  # none of them are references
    await other.start()
    [one, *_] = chunked(await stage.handle(deliver())).chunks
    [two, *_] = chunked(await other.handle(deliver())).chunks
    assert one.chunk_id != two.chunk_id


@pytest.mark.usefixtures("stage")
async def test_a_text_beside_its_record_is_fetched(tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "long.txt").write_text(TEXT)
    uri = f"file://{tmp_path}/texts/long.txt"
    stage = make_stage(tmp_path, references=ReferenceSettings(allowed=(f"file://{tmp_path}/texts/",)))
    await stage.start()
    by_reference = await stage.handle(deliver("", title="Title", headers=Headers(dataref=uri)))
    assert by_reference == await stage.handle(deliver(TEXT, title="Title"))
    # What is withdrawn is not fetched, and what comes with its text neither.
    assert chunked(await stage.handle(deliver(None, headers=Headers(dataref="file:///none")))).chunks == ()
    assert chunked(await stage.handle(deliver(FIRST, headers=Headers(dataref="file:///none")))).chunks


async def test_a_reference_that_is_not_allowed_is_refused_in_a_sentence(stage: ChunkingStage) -> None:
    outcome = await stage.handle(deliver("", headers=Headers(dataref="file:///etc/passwd")))
    assert isinstance(outcome, RejectedError)
    assert outcome.code == "bad_reference"
    assert str(outcome) == (
        "The document's text cannot be fetched: the reference file:///etc/passwd is refused: "
        "it is not below a prefix in references.allowed."
    )


async def test_a_text_whose_place_is_away_is_fetched_later(
    stage: ChunkingStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def read(_: str) -> str:
        raise BackendUnavailableError("it is away")

    monkeypatch.setattr(stage._references, "read", read)
    outcome = await stage.handle(deliver("", headers=Headers(dataref="s3://b/k")))
    assert isinstance(outcome, RetryableError)
