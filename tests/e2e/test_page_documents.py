"""Documents added at the page, in a real Chromium on a real bridge; the test plays the stages of ingest."""

import time
from typing import Any

import pytest
from playwright.async_api import Browser, expect

from schemas.events import DocumentFailed, DocumentIndexed, DocumentSubmitted, DocumentWithdrawn
from schemas.revision import document_revision
from tests.fixtures.browser import TENANT, Backstage, Visitor, passage, visit

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(90)]

NOTES = "# Hats\n\nThe hat of the harbour master is orange."


def file(name: str, content: str | bytes, kind: str = "text/markdown") -> Any:
    return {"name": name, "mimeType": kind, "buffer": content.encode() if isinstance(content, str) else content}


async def submitted(backstage: Backstage) -> tuple[str, DocumentSubmitted]:
    return await backstage.heard(DocumentSubmitted)


async def index(backstage: Backstage, document_id: str, event: DocumentSubmitted, chunks: int = 1) -> None:
    """The stages of ingest have done their part."""
    indexed = DocumentIndexed(
        document_id=document_id,
        revision=document_revision(event),
        tenant=TENANT,
        chunks=chunks,
        added=chunks,
        removed=0,
    )
    backstage.documents.take(indexed, time.time_ns() // 1_000_000)


async def test_a_document_is_added_and_asked_about(visitor: Visitor) -> None:
    page, backstage = visitor.page, visitor.backstage
    async with page.expect_file_chooser() as chosen:
        await page.get_by_role("button", name="Add documents", exact=True).last.click()
    await (await chosen.value).set_files([file("hats.md", NOTES)])
    document_id, event = await submitted(backstage)
    assert "The hat of the harbour master is orange." in event.text
    await visitor.sees("being made searchable", "#uploads")
    await index(backstage, document_id, event)
    await visitor.sees("searchable, 1 passage", "#uploads")
    await visitor.sees("searchable, 1 passage", "#documents")
    await expect(page.locator("#announcements")).to_contain_text("hats.md is searchable now.")
    asked = await visitor.ask("Which colour is the hat of the harbour master?")
    await expect(page.locator("#uploads li")).to_have_count(0)
    await asked.find(passage(1, event.title, event.text, event.source))
    await asked.answer("It is orange [1].")
    await visitor.phase("answered")
    await page.click(".cite")
    await visitor.sees("hats.md", ".passage-facts")
    marked = await page.locator(".passage-text mark").all_inner_texts()
    assert {"orange", "hat", "harbour", "master"} <= {word.lower() for word in marked}


async def test_how_much_was_sent_is_shown_and_sending_can_be_cancelled(visitor: Visitor) -> None:
    page = visitor.page
    network = await page.context.new_cdp_session(page)
    await network.send("Network.enable")
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 100_000}
    await network.send("Network.emulateNetworkConditions", slow)
    await page.set_input_files("#files", [file("long.txt", "word " * 200_000, "text/plain")])
    bar = page.get_by_label("Sending long.txt")
    await expect(page.locator("#uploads")).to_contain_text("sending,")
    await visitor.until("document.querySelector('#uploads progress').value > 0")
    assert 0 < await bar.evaluate("(bar) => bar.value") < 1
    await page.get_by_label("Cancel long.txt").click()
    await visitor.sees("long.txt was not added.")
    await expect(page.locator("#uploads li, #documents li")).to_have_count(0)
    assert visitor.backstage.publisher.published.empty()


async def test_what_cannot_be_added_says_why(browser: Browser) -> None:
    backstage = Backstage(settings={"max_upload_bytes": 100_000})
    await backstage.up()
    async with visit(browser, backstage) as visitor:
        page = visitor.page
        await visitor.open()
        await page.set_input_files("#files", [file("tool.exe", b"MZ\x90\x00\x03", "application/x-msdownload")])
        await expect(page.locator('#uploads li[data-state="failed"]')).to_contain_text("tool.exe")
        await page.get_by_label("Hide tool.exe").click()
        await page.set_input_files("#files", [file("huge.txt", "a" * 5_000_000, "text/plain")])
        await expect(page.locator('#uploads li[data-state="failed"] .upload-state')).to_contain_text("100000 bytes")
        await page.get_by_label("Hide huge.txt").click()
        backstage.publisher.available = False
        await page.set_input_files("#files", [file("hats.md", NOTES)])
        await expect(page.locator('#uploads li[data-state="failed"] .upload-state')).to_contain_text("Kafka")
        backstage.publisher.available = True
        await page.get_by_role("button", name="Try again").click()
        document_id, event = await submitted(backstage)
        failed = DocumentFailed(
            document_id=document_id,
            revision=document_revision(event),
            tenant=TENANT,
            stage="chunking",
            code="too_many_chunks",
            message="The document has too many chunks.",
        )
        backstage.documents.take(failed, time.time_ns() // 1_000_000)
        await visitor.sees("The document has too many chunks.", "#uploads")
        visitor.assert_clean()
    await backstage.down()


async def test_documents_are_dropped_kept_over_a_reload_and_taken_away(visitor: Visitor) -> None:
    page, backstage = visitor.page, visitor.backstage
    await page.evaluate(
        """(text) => {
          const dataTransfer = new DataTransfer();
          dataTransfer.items.add(new File([text], "hats.md", { type: "text/markdown" }));
          for (const name of ["dragenter", "dragover", "drop"])
            document.body.dispatchEvent(new DragEvent(name, { dataTransfer, bubbles: true, cancelable: true }));
        }""",
        NOTES,
    )
    document_id, event = await submitted(backstage)
    await visitor.sees("being made searchable", "#documents")
    await page.reload()
    await visitor.sees("being made searchable", "#documents")
    await index(backstage, document_id, event, chunks=2)
    await visitor.sees("searchable, 2 passages", "#documents")
    await page.set_input_files("#files", [file("hats.md", f"{NOTES}\n\nNo, green.")])
    again, event = await submitted(backstage)
    assert again == document_id
    await index(backstage, document_id, event, chunks=3)
    await visitor.sees("searchable, 3 passages", "#documents")
    await expect(page.locator("#documents li")).to_have_count(1)
    await page.hover("#documents li")
    await page.get_by_label("Remove hats.md from what is searched").click()
    assert (await backstage.heard(DocumentWithdrawn))[0] == document_id
    await visitor.sees("hats.md is no longer searched.")
    await expect(page.locator("#documents li")).to_have_count(0)
