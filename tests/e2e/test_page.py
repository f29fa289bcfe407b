"""The page as people use it, in a real Chromium on a real bridge; the test plays the pipeline."""

import asyncio
from datetime import UTC, datetime

import pytest
from playwright.async_api import Browser, Page, expect

from bridge.keys import KeyRing, NewKey, new_key
from schemas.events import ApiKeyCreated, ApiKeyRevoked, CancellationRequested, RequestExpired
from tests.fixtures.browser import TENANT, Backstage, Visitor, passage, texts, visit

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(90)]

YIELD = passage(
    1,
    "The yield statement",
    "A yield statement makes a generator. The word banana is not here.",
    "pydoc:yield",
    page=3,
    last_page=4,
    heading="Statements > Simple <b>",
    metadata={"year": 2021, "is_draft": False},
)
RETURN = passage(2, "The return statement", "A function returns when it has ended.", "https://docs.example/return", 0.5)
FIRST, SECOND = "Using yield makes a **generator** [1]. ", "It ends with a `return` [2]."
WHOLE = "Using yield makes a generator 1. It ends with a return 2."


async def shown(page: Page, where: str) -> str:
    return (await page.inner_text(where)).strip()


# --- asking -----------------------------------------------------------------------------------------------


async def test_an_answer_streams_with_its_way_through_the_stages_and_ends(visitor: Visitor) -> None:
    page = visitor.page
    asked = await visitor.ask("What does yield do?")
    await visitor.sees("Looking for passages…")
    await asked.stage("query", 7)
    await page.wait_for_selector('.stage[data-state="done"] >> text=query')
    await page.wait_for_selector('.stage[data-state="running"] >> text=embedding')
    await expect(page.locator(".stage").first).to_contain_text("7 ms")
    await asked.find(YIELD, RETURN)
    await visitor.sees("Reading 2 passages…")
    running = page.locator('.stage[data-state="running"] .stage-time')
    before = await running.inner_text()
    await expect(running).not_to_have_text(before)
    await asked.write(FIRST)
    await expect(page.locator(".answer strong")).to_have_text("generator")
    assert await page.get_attribute(".answer", "aria-busy") == "true"
    await asked.answer(SECOND)
    await visitor.phase("answered")
    assert await shown(page, ".answer") == WHOLE
    assert await page.get_attribute(".answer", "aria-busy") == "false"
    await expect(page.locator('.stage[data-state="done"]')).to_have_count(5)
    await expect(page.locator(".facts")).to_have_text("test-model · 100 tokens read · 20 written")
    await page.click(".timeline summary")
    await expect(page.locator(".chart .line")).to_have_count(5)
    await expect(page.locator(".chart-note")).to_contain_text(asked.request_id)


async def test_a_citation_opens_its_passage_with_the_matching_words_marked(visitor: Visitor) -> None:
    page = visitor.page
    asked = await visitor.ask("What does yield do?")
    await asked.find(YIELD, RETURN)
    await asked.answer(FIRST + SECOND)
    await visitor.phase("answered")
    await page.click(".answer .cite >> nth=0")
    await expect(page.locator("#passage-title")).to_have_text("The yield statement")
    assert texts(await page.locator(".passage-text mark").all_inner_texts()) == ["yield", "makes", "generator"]
    assert await shown(page, ".passage-text") == YIELD.passage.text
    facts = "pydoc:yield · pages 3-4 · Statements > Simple <b> · part 1 · similarity 0.70"
    assert await shown(page, ".passage-facts") == facts
    assert await page.locator(".passage-metadata dt, .passage-metadata dd").all_inner_texts() == [
        *("year", "2021"),
        *("is_draft", "false"),
    ]
    await page.keyboard.press("ArrowRight")
    await expect(page.locator(".passage-metadata")).to_have_count(0)
    await expect(page.locator("#passage-title")).to_have_text("The return statement")
    assert await page.get_attribute(".passage-facts a", "href") == "https://docs.example/return"
    await page.keyboard.press("Escape")
    await expect(page.locator("#passage")).to_be_hidden()
    await expect(page.locator(".answer .cite").first).to_be_focused()
    await page.click(".sources .source >> nth=1")
    assert "returns" in await page.locator(".passage-text mark").all_inner_texts()


async def test_stop_cancels_the_request_and_the_question_can_be_asked_again(visitor: Visitor) -> None:
    page = visitor.page
    asked = await visitor.ask("What does yield do?")
    await asked.find(YIELD)
    await asked.write(FIRST)
    await expect(page.locator(".answer")).to_contain_text("generator")
    await page.click("#stop")
    key, _ = await visitor.backstage.heard(CancellationRequested)
    assert key == asked.request_id
    await expect(page.locator("#question")).to_be_focused()
    await asked.write("never seen")
    await asked.cancel()
    await visitor.phase("stopped")
    await visitor.sees("You stopped this answer here.")
    assert "never seen" not in await page.inner_text("main")
    await page.click(".turn >> text=Ask again")
    again = await visitor.backstage.asked()
    assert again.request_id != asked.request_id
    assert again.event.question == asked.event.question
    await again.find(YIELD)
    await again.answer(FIRST)
    await visitor.phase("answered")
    await expect(page.locator(".turn")).to_have_count(1)


async def test_the_answer_and_its_sources_can_be_copied(browser: Browser, backstage: Backstage) -> None:
    async with visit(browser, backstage, permissions=["clipboard-read", "clipboard-write"]) as visitor:
        await visitor.open()
        asked = await visitor.ask("What does yield do?")
        await asked.find(YIELD)
        await asked.answer("It **yields** [1].\n\n```python\nyield 1\n```")
        await visitor.phase("answered")
        await visitor.page.click(".actions >> text=Copy")
        await visitor.sees("Copied", ".actions")
        copied = await visitor.page.evaluate("navigator.clipboard.readText()")
        assert copied == f"{asked.said}\n\n[1] The yield statement (pydoc:yield)"
        await visitor.page.click(".code-head >> text=Copy")
        await visitor.sees("Copied", ".code-head")
        assert await visitor.page.evaluate("navigator.clipboard.readText()") == "yield 1"


async def test_a_new_attempt_starts_the_answer_anew(visitor: Visitor) -> None:
    asked = await visitor.ask("What does yield do?")
    await asked.find(YIELD)
    await asked.write("A first try, ")
    await expect(visitor.page.locator(".answer")).to_contain_text("A first try")
    await asked.begin_again()
    await asked.write("A second one")
    await expect(visitor.page.locator(".answer")).to_have_text("A second one")


# --- what is lost comes back ------------------------------------------------------------------------------


async def test_a_reload_in_mid_answer_loses_nothing(visitor: Visitor) -> None:
    page = visitor.page
    asked = await visitor.ask("What does yield do?")
    await asked.find(YIELD, RETURN)
    await asked.write(FIRST)
    await expect(page.locator(".answer")).to_contain_text("generator")
    await page.reload()
    await expect(page.locator(".answer")).to_contain_text("generator")
    await expect(page.locator('.stage[data-state="done"]')).to_have_count(4)
    await asked.answer(SECOND)
    await visitor.phase("answered")
    assert await shown(page, ".answer") == WHOLE
    await page.reload()
    await visitor.phase("answered")
    assert await shown(page, ".answer") == WHOLE
    await page.click(".answer .cite >> nth=0")
    await expect(page.locator("#passage-title")).to_have_text("The yield statement")


async def test_a_bridge_that_restarts_in_mid_answer_loses_nothing(visitor: Visitor) -> None:
    page, backstage = visitor.page, visitor.backstage
    asked = await visitor.ask("What does yield do?")
    await asked.find(YIELD, RETURN)
    await asked.write(FIRST)
    await expect(page.locator(".answer")).to_contain_text("generator")
    await backstage.down()
    await visitor.sees("No connection to the bridge.")
    await visitor.sees("The answer is being made all the same")
    await asked.write("It ends ")
    await backstage.up()
    await page.wait_for_selector('html[data-connection="open"]')
    await expect(page.locator("#connection")).to_be_hidden()
    await asked.answer("with a `return` [2].")
    await visitor.phase("answered")
    assert await shown(page, ".answer") == WHOLE


async def test_a_question_asked_without_a_connection_is_sent_when_there_is_one(visitor: Visitor) -> None:
    page, backstage = visitor.page, visitor.backstage
    await backstage.down()
    await visitor.sees("No connection to the bridge.")
    await page.fill("#question", "Is anybody there?")
    await page.press("#question", "Enter")
    await visitor.sees("The question is sent as soon as the page is connected again.")
    await backstage.up()
    asked = await backstage.asked()
    await asked.answer("Yes.")
    await visitor.phase("answered")


async def test_an_answer_whose_live_view_is_gone_comes_from_the_answers(visitor: Visitor) -> None:
    page, backstage = visitor.page, visitor.backstage
    asked = await visitor.ask("What does yield do?")
    await visitor.sees("Looking for passages…")
    await page.goto("about:blank")
    backstage.live_view._streams.clear()
    asked.said = "From the topic."
    backstage.answers.endings[TENANT, asked.request_id] = (asked.answered(), ())
    await page.go_back()
    await visitor.phase("answered")
    assert await shown(page, ".answer") == "From the topic."


async def test_an_answer_that_nobody_knows_any_more_is_said_to_be_lost(visitor: Visitor) -> None:
    page = visitor.page
    await visitor.ask("What does yield do?")
    await visitor.sees("Looking for passages…")
    await page.goto("about:blank")
    visitor.backstage.live_view._streams.clear()
    await page.go_back()
    await visitor.sees("This answer is no longer kept")


# --- conversations ----------------------------------------------------------------------------------------


async def test_conversations_are_kept_apart_and_may_be_deleted_and_brought_back(visitor: Visitor) -> None:
    page = visitor.page
    for question in ("First question", "Second question"):
        await page.click("#new")
        asked = await visitor.ask(question)
        await asked.answer(f"Answer to {question}.")
        await visitor.phase("answered")
    await page.reload()
    names = page.locator("#conversations .side-name")
    await expect(names).to_have_text(["Second question", "First question"])
    await page.click("#conversations >> text=First question")
    await expect(page.locator(".answer")).to_have_text("Answer to First question.")
    await page.go_back()
    await expect(page.locator(".answer")).to_have_text("Answer to Second question.")
    await page.hover("#conversations >> text=Second question")
    await page.get_by_label("Delete the conversation “Second question”").click()
    await expect(names).to_have_text(["First question"])
    await expect(page.locator("#empty")).to_be_visible()
    await page.click("#toast >> text=Undo")
    await expect(names).to_have_text(["Second question", "First question"])
    await expect(page.locator(".answer")).to_have_text("Answer to Second question.")


async def test_a_follow_up_carries_what_was_said_before(visitor: Visitor) -> None:
    asked = await visitor.ask("What does yield do?")
    assert not asked.event.history
    await asked.answer("It makes a generator.")
    await visitor.phase("answered")
    followed = await visitor.ask("And return?")
    assert followed.event.history is not None
    assert [(message.role, message.content) for message in followed.event.history] == [
        ("user", "What does yield do?"),
        ("assistant", "It makes a generator."),
    ]


async def test_a_conversation_goes_on_while_another_is_looked_at(visitor: Visitor) -> None:
    page = visitor.page
    asked = await visitor.ask("A slow one")
    await page.click("#new")
    await page.wait_for_selector("#conversations .busy")
    other = await visitor.ask("A quick one")
    await other.answer("Quick.")
    await visitor.phase("answered")
    await asked.answer("Slow.")
    await expect(page.locator("#conversations .busy")).to_have_count(0)
    await page.click("#conversations >> text=A slow one")
    await expect(page.locator(".answer")).to_have_text("Slow.")


# --- states -----------------------------------------------------------------------------------------------


async def test_what_went_wrong_is_said_with_what_to_do(visitor: Visitor) -> None:
    page = visitor.page
    asked = await visitor.ask("One")
    await asked.fail("embedder_failed", "The embedder gave up.")
    await visitor.phase("failed")
    await visitor.sees("The embedder gave up.", ".turn:last-child .box")
    await expect(page.locator('.turn:last-child .stage[data-state="failed"]')).to_contain_text("embedding")
    await expect(page.locator("#question")).to_have_value("One")
    asked = await visitor.ask("Two")
    past = datetime(2020, 1, 1, tzinfo=UTC)
    await asked.expire(RequestExpired(request_id=asked.request_id, tenant=TENANT, stage="generation", deadline_at=past))
    await visitor.sees("The answer came too late", ".turn:last-child .box")
    asked = await visitor.ask("Three")
    await asked.find()
    await asked.answer("Nothing was found.", finish_reason="nothing_found")
    await visitor.sees("add documents that hold the answer", ".turn:last-child .box")
    async with page.expect_file_chooser():
        await page.click(".turn:last-child .box button >> text=Add documents")
    visitor.backstage.publisher.available = False
    await page.fill("#question", "Four")
    await page.press("#question", "Enter")
    await visitor.sees("The pipeline cannot be reached", ".turn:last-child .box")
    visitor.backstage.publisher.available = True
    await page.click(".turn:last-child .box button >> text=Ask again")
    await (await visitor.backstage.asked()).answer("There you are.")
    await visitor.phase("answered")


async def test_what_takes_long_is_explained(browser: Browser, backstage: Backstage) -> None:
    async with visit(browser, backstage) as visitor:
        await visitor.page.clock.install()
        await visitor.open()
        asked = await visitor.ask("What does yield do?")
        await visitor.sees("Looking for passages…")
        await visitor.page.clock.fast_forward(11_000)
        await visitor.sees("No worker has taken up the question yet")
        await asked.find(YIELD)
        await visitor.sees("Reading 1 passage…")
        await visitor.page.clock.fast_forward(11_000)
        await visitor.sees("Still in generation.")
        await asked.write("At last")
        await expect(visitor.page.locator(".slow")).to_be_hidden()
        visitor.assert_clean()


# --- keys -------------------------------------------------------------------------------------------------


class HeldKeys:
    """The keys of a bridge, as they would have been read from their topic."""

    def __init__(self) -> None:
        self.ring = KeyRing()
        self.ready = asyncio.Event()
        self.ready.set()

    def make(self, *scopes: str) -> NewKey:
        key = new_key()
        now = datetime.now(UTC)
        self.ring.take(
            ApiKeyCreated(key_id=key.key_id, tenant=TENANT, label="t", by="t", at=now, digest=key.digest, scopes=scopes)
        )
        return key

    def revoke(self, key: NewKey) -> None:
        self.ring.take(ApiKeyRevoked(key_id=key.key_id, tenant=TENANT, label="t", by="t", at=datetime.now(UTC)))


async def test_a_bridge_that_wants_a_key_gets_it_from_the_person_and_no_storage_keeps_it(browser: Browser) -> None:
    keys = HeldKeys()
    backstage = Backstage(keys, {"access": {"required": True}})
    await backstage.up()
    key, reader = keys.make("ask"), keys.make("ingest")
    async with visit(browser, backstage) as visitor:
        page = visitor.page
        await page.goto(backstage.address)
        await visitor.sees("This bridge asks for a key")
        for wrong, problem in (("rl_no_such", "not valid"), ("two words", "no key"), (reader.text, "scope ask")):
            await page.get_by_label("API key", exact=True).fill(wrong)
            await page.keyboard.press("Enter")
            await visitor.sees(problem, "#key-problem")
        await page.get_by_label("API key", exact=True).fill(key.text)
        await page.keyboard.press("Enter")
        await page.wait_for_selector('html[data-connection="open"]')
        asked = await visitor.ask("What does yield do?")
        await asked.answer("It waits.")
        await visitor.phase("answered")
        await page.reload()
        await page.wait_for_selector('html[data-connection="open"]')
        assert key.text not in await page.evaluate("JSON.stringify(localStorage) + document.cookie + location")
        keys.revoke(key)
        await visitor.sees("no longer", "#key-problem")
        await page.get_by_role("button", name="Forget the key").click()
        await visitor.sees("This bridge asks for a key")
        assert await page.evaluate("sessionStorage.length") == 0
        visitor.assert_clean()
    await backstage.down()
