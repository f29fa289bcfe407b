"""The page on the whole stack: everything real, from the browser to the model and back."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import orjson
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


async def sources_on_page(visitor: Visitor, stack: Stack) -> list[str]:
    """Ask about the tower at the page; the texts of the passages that are shown beside the answer."""
    page = visitor.page
    turns = await page.locator(".turn").count()
    await page.fill("#question", "Which colour has the tower of Ostrell?")
    await page.press("#question", "Enter")
    await expect(page.locator(".turn")).to_have_count(turns + 1)
    await answered(visitor, stack)
    texts = []
    for source in await page.locator(".turn:last-child .source").all():
        await source.click()
        texts.append(await page.inner_text(".passage-text"))
        await page.get_by_label("Close the passage").click()
    return texts


async def test_updates_and_deletions_show_on_the_command_line_and_at_the_page(
    stack: Stack, browser: Browser, tmp_path: Path
) -> None:
    tower, name = tmp_path / "ostrell.md", "towers/ostrell.md"
    ask = ("ask", "Which colour has the tower of Ostrell?", "--max-tokens", "8", "--filter", "metadata.kind == 'tower'")

    async def run(*arguments: str) -> str:
        done = await asyncio.to_thread(stack.run, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    async def ingest(colour: str) -> dict[str, Any]:
        statement = f"The tower of Ostrell is painted {colour}."
        tower.write_text(f"# Ostrell\n\nOf towers.\n\n## Colour\n\n{statement}\n", encoding="utf-8")
        printed = await run("ingest", "--json", "--prefix", "towers", "--metadata", "kind=tower", str(tower))
        summary: dict[str, Any] = orjson.loads(printed)
        return summary

    async with visit(browser, Backstage(port=stack.settings.bridge.port)) as visitor:
        await visitor.open()
        assert (await ingest("crimson"))["indexed"] == 1
        assert f"searchable      1  {name}  Ostrell" in await run("documents", "list", "--prefix", "towers/")
        assert f"Ostrell ({name}" in await run(*ask)
        assert any("painted crimson" in text for text in await sources_on_page(visitor, stack))

        updated = await ingest("turquoise")
        assert (updated["indexed"], updated["chunks_added"], updated["chunks_removed"]) == (1, 1, 1)
        shown = await run("documents", "show", name)
        assert "painted turquoise" in shown
        assert 'kind="tower"' in shown
        searched = orjson.loads(await run("documents", "show", "--json", "--chunks", name))["searched"]
        assert ["painted turquoise" in chunk["text"] for chunk in searched] == [True]
        texts = await sources_on_page(visitor, stack)
        assert any("painted turquoise" in text for text in texts)
        assert not any("painted crimson" in text for text in texts)

        before = orjson.loads(await run("documents", "stats", "--json"))
        assert "1 documents taken away (1 chunks)" in await run("documents", "delete", name)
        after = orjson.loads(await run("documents", "stats", "--json"))
        assert [before[of] - after[of] for of in ("documents", "chunks", "chunks_stored")] == [1, 1, 1]
        assert await run("documents", "list", "--prefix", "towers/") == ""
        gone = await asyncio.to_thread(stack.run, "documents", "show", name)
        assert (gone.returncode, f"there is no document {name}" in gone.stderr) == (1, True)
        assert name not in await run(*ask)
        assert not any("tower of Ostrell" in text for text in await sources_on_page(visitor, stack))
        visitor.assert_clean()
