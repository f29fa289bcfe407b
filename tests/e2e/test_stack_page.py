"""The page on the whole stack: everything real, from the browser to the model and back."""

from pathlib import Path

import httpx
import pytest
from playwright.async_api import Browser, expect

from tests.fixtures.browser import Backstage, Visitor, visit
from tests.fixtures.stack import Stack

pytestmark = [
    pytest.mark.servers,
    pytest.mark.models,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(600),
]

ANSWER_MS = 180_000
STATEMENT = "The lighthouse of Quarrelby is painted in orange and violet stripes by the harbour master every May."


async def answered(visitor: Visitor, stack: Stack) -> None:
    """Wait for the end of the last turn; what is shown then is what the bridge has."""
    page = visitor.page
    await page.wait_for_selector('.turn:last-child[data-phase="answered"]', timeout=ANSWER_MS)
    request_id = await page.get_attribute(".turn:last-child", "data-request")
    async with httpx.AsyncClient(base_url=visitor.backstage.address, trust_env=False) as http:
        known = (await http.get(f"/v1/queries/{request_id}")).json()
    kept = await page.evaluate(
        "(id) => Object.values(localStorage).flatMap((text) => JSON.parse(text).requests ?? [])"
        ".find((request) => request.id === id).text",
        request_id,
    )
    assert known["state"] == "answered"
    assert kept == known["answer"]
    assert stack.process.poll() is None


async def test_a_document_is_added_and_asked_about_and_the_bridge_dies_meanwhile(
    stack: Stack, browser: Browser, tmp_path: Path
) -> None:
    note = tmp_path / "quarrelby.md"
    note.write_text(f"# Quarrelby\n\n{STATEMENT}\n", encoding="utf-8")
    async with visit(browser, Backstage(port=stack.settings.bridge.port)) as visitor:
        page = visitor.page
        await visitor.open()
        await page.set_input_files("#files", [note])
        await page.locator("#uploads").get_by_text("searchable, 1 passage").wait_for(timeout=ANSWER_MS)
        await page.fill("#question", "How is the lighthouse of Quarrelby painted?")
        await page.press("#question", "Enter")
        await page.wait_for_selector(".source >> text=Quarrelby", timeout=ANSWER_MS)
        await page.reload()
        await answered(visitor, stack)
        await expect(page.locator('.stage[data-state="done"]')).to_have_count(5)
        await page.click(".source >> text=Quarrelby")
        assert STATEMENT in await page.inner_text(".passage-text")
        marked = await page.locator(".passage-text mark").all_inner_texts()
        assert {"lighthouse", "Quarrelby", "painted"} <= set(marked)
        await page.get_by_label("Close the passage").click()
        stack.kill("bridge")
        await visitor.sees("No connection to the bridge.")
        await page.fill("#question", "Who paints the lighthouse of Quarrelby?")
        await page.press("#question", "Enter")
        await answered(visitor, stack)
        visitor.assert_clean()
