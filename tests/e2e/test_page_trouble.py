"""The page when the browser or the network plays tricks, in a real Chromium on a real bridge."""

import pytest
from playwright.async_api import Browser, expect

from tests.fixtures.browser import Backstage, Visitor, passage, visit, visitor_in

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(90)]

SOURCE = passage(1, "The yield statement", "A yield statement makes a generator.")
BROKEN = [
    "{",
    "null",
    "[]",
    '{"requests": 1}',
    '{"requests": [{}]}',
    '{"updated": 1, "requests": [{"id": 1, "question": 2, "phase": "no such"}]}',
    '{"updated": 1, "requests": [{"id": "a", "question": "q", "phase": "answered", "text": {}}]}',
]


async def test_a_connection_that_died_without_a_word_is_made_anew(browser: Browser, backstage: Backstage) -> None:
    async with visit(browser, backstage) as visitor:
        page = visitor.page
        await page.clock.install()
        await visitor.open()
        asked = await visitor.ask("What does yield do?")
        await asked.find(SOURCE)
        await asked.write("It makes ")
        await expect(page.locator(".answer")).to_have_text("It makes")
        async with page.expect_websocket():
            await page.clock.fast_forward(40_000)
        await page.wait_for_selector('html[data-connection="open"]')
        await asked.answer("a generator [1].")
        await visitor.phase("answered")
        await expect(page.locator(".answer")).to_have_text("It makes a generator 1.")
        visitor.assert_clean()


async def test_two_tabs_show_the_same_conversations(visitor: Visitor) -> None:
    other = await visitor_in(visitor.page.context, visitor.backstage)
    await other.open()
    asked = await other.ask("Asked in the other tab")
    await asked.find(SOURCE)
    await asked.answer("Answered there [1].")
    await other.phase("answered")
    # A tab in the background draws nothing.
    await visitor.page.bring_to_front()
    await visitor.page.click("#conversations >> text=Asked in the other tab")
    await expect(visitor.page.locator(".answer")).to_have_text("Answered there 1.")
    await other.page.bring_to_front()
    follow_up = await other.ask("And more?")
    await follow_up.write("Mo")
    await visitor.page.bring_to_front()
    await expect(visitor.page.locator(".answer").last).to_have_text("Mo")
    await follow_up.answer("re.")
    await visitor.phase("answered")
    await expect(visitor.page.locator(".turn")).to_have_count(2)
    await expect(visitor.page.locator(".answer").last).to_have_text("More.")
    # Who only looks on asks nothing.
    assert visitor.backstage.publisher.published.empty()
    await other.page.bring_to_front()
    await other.phase("answered")
    await other.page.hover("#conversations li")
    await other.page.get_by_label("Delete the conversation “Asked in the other tab”").click()
    await visitor.page.bring_to_front()
    await expect(visitor.page.locator("#empty")).to_be_visible()
    await expect(visitor.page.locator("#conversations li")).to_have_count(0)
    other.assert_clean()


async def test_a_question_that_goes_on_can_be_followed_in_two_tabs(visitor: Visitor) -> None:
    asked = await visitor.ask("What does yield do?")
    await asked.find(SOURCE)
    await asked.write("It makes ")
    other = await visitor_in(visitor.page.context, visitor.backstage)
    await other.page.goto(visitor.page.url)
    await expect(other.page.locator(".answer")).to_have_text("It makes")
    await asked.answer("a generator [1].")
    for tab in (visitor, other):
        await tab.page.bring_to_front()
        await tab.phase("answered")
        await expect(tab.page.locator(".answer")).to_have_text("It makes a generator 1.")


async def test_full_storage_costs_the_oldest_conversations_and_then_nothing_but_the_memory(visitor: Visitor) -> None:
    page = visitor.page
    for question in ("First", "Second"):
        await page.click("#new")
        asked = await visitor.ask(question)
        await asked.answer("word " * 2_000)
        await visitor.phase("answered")
    await page.evaluate(
        """() => {
          for (let size = 1 << 20, number = 0; size >= 1; number++) {
            try {
              localStorage.setItem(`other${number}`, "x".repeat(size));
            } catch {
              size >>= 1;
            }
          }
        }"""
    )
    await page.click("#new")
    asked = await visitor.ask("Third")
    await asked.answer("word " * 1_000)
    await visitor.phase("answered")
    await expect(page.locator("#conversations .side-name")).to_have_text(["Third", "Second"])
    await page.evaluate("localStorage.clear(); localStorage.setItem('other', 'x'.repeat(5_242_000))")
    asked = await visitor.ask("Fourth")
    await asked.answer("Still here.")
    await expect(page.locator(".answer").last).to_have_text("Still here.")
    await visitor.sees("This browser keeps no more")


async def test_what_cannot_be_read_in_storage_is_passed_over(visitor: Visitor) -> None:
    page = visitor.page
    asked = await visitor.ask("A sound one")
    await asked.answer("Sound.")
    await visitor.phase("answered")
    await page.evaluate(
        """(broken) => {
          broken.forEach((text, place) => localStorage.setItem(`ragline.conversation.${place}`, text));
          localStorage.setItem("ragline.documents", "{");
          localStorage.setItem("ragline.theme", "<b>");
        }""",
        BROKEN,
    )
    await page.reload()
    await visitor.phase("answered")
    await expect(page.locator("#conversations .side-name")).to_have_text(["A sound one"])
    await page.goto(f"{visitor.backstage.address}/#3")
    await page.reload()
    await expect(page.locator("#empty")).to_be_visible()
    asked = await visitor.ask("Does it work?")
    await asked.answer("Yes.")
    await visitor.phase("answered")


async def test_without_storage_the_page_works_until_it_is_closed(browser: Browser, backstage: Backstage) -> None:
    async with visit(browser, backstage) as visitor:
        await visitor.page.add_init_script(
            "for (const name of ['localStorage', 'sessionStorage'])"
            " Object.defineProperty(window, name, { get() { throw new DOMException('no', 'SecurityError'); } });"
        )
        await visitor.open()
        asked = await visitor.ask("Does it work?")
        await asked.answer("Yes.")
        await visitor.phase("answered")
        await expect(visitor.page.locator("#conversations .side-name")).to_have_text(["Does it work?"])
        visitor.assert_clean()
