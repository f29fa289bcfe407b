"""The page for everybody: by keyboard alone, read aloud, on a narrow screen, in the dark."""

import pytest
from playwright.async_api import Browser, Page, expect

from tests.fixtures.browser import Asked, Backstage, Visitor, passage, visit

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(90)]

LONG_WORD = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft" * 3
ANSWER = f"""A *yield* [1] pauses [2].

{LONG_WORD} https://a.example/{LONG_WORD}

- one
  - {LONG_WORD}

```python
line = "{LONG_WORD}"
```

| a | b | c | d |
|---|---|---|---|
| {LONG_WORD} | 1 | 2 | `{LONG_WORD}` |

> {LONG_WORD}

# {LONG_WORD}
"""
SOURCES = (
    passage(1, f"The yield statement {LONG_WORD}", f"{LONG_WORD} yield", f"https://a.example/{LONG_WORD}"),
    passage(2, "Pauses", "It pauses.\n" * 200),
)

# The contrast of a text with what is behind it (WCAG 2.2, success criterion 1.4.3).
CONTRAST = """() => {
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const canvas = Object.assign(document.createElement("canvas"), { width: 1, height: 1 });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const layers = (element) => {
    const found = [];
    for (let one = element; one; one = one.parentElement) found.unshift(getComputedStyle(one).backgroundColor);
    return found;
  };
  const paint = (colours) => {
    for (const colour of colours) { context.fillStyle = colour; context.fillRect(0, 0, 1, 1); }
    return [...context.getImageData(0, 0, 1, 1).data];
  };
  const poor = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const text = walker.currentNode.data.trim().slice(0, 40);
    if (!text || !element.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue;
    if (element.closest(".unseen, .skip, noscript, :disabled")) continue;
    const behind = layers(element);
    const [one, other] = [light(paint(behind)), light(paint([...behind, getComputedStyle(element).color]))];
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (ratio < 4.5) poor.push(`${ratio.toFixed(2)} ${element.className || element.localName}: ${text}`);
  }
  return poor;
}"""

# What can be used but has no name, and fields without a label.
NAMELESS = """() => [...document.querySelectorAll("button, a[href], input, textarea, summary, dialog, [role=region]")]
  .filter((one) => one.checkVisibility())
  .filter((one) => !(one.getAttribute("aria-label") || one.labels?.length || one.innerText.trim() ||
    document.getElementById(one.getAttribute("aria-labelledby"))?.textContent))
  .map((one) => one.outerHTML.slice(0, 120))"""


async def answered(visitor: Visitor, text: str = ANSWER) -> Asked:
    asked = await visitor.ask("What does yield do?")
    await asked.find(*SOURCES)
    await asked.answer(text)
    await visitor.phase("answered")
    return asked


async def focused(page: Page) -> str:
    """The name of what the keyboard is at."""
    return str(
        await page.evaluate(
            "(document.activeElement.getAttribute('aria-label') ?? document.activeElement.innerText).trim()"
            " || document.activeElement.id"
        )
    )


async def test_everything_can_be_done_by_keyboard(visitor: Visitor) -> None:
    page = visitor.page
    keys = page.keyboard
    assert await focused(page) == "question"
    await keys.type("What does yield do?")
    await keys.press("Shift+Enter")
    await keys.type("Briefly.")
    await keys.press("Enter")
    asked = await visitor.backstage.asked()
    assert asked.event.question == "What does yield do?\nBriefly."
    await keys.press("Tab")
    assert await focused(page) == "Stop the answer"
    await asked.find(*SOURCES)
    await asked.answer("It pauses [2].")
    await visitor.phase("answered")
    await expect(page.locator("#question")).to_be_focused()
    passed = []
    while (name := await focused(page)) != "Source 2: Pauses":
        passed.append(name)
        await keys.press("Shift+Tab")
        assert len(passed) < 10, passed
    assert passed[0] == "question"
    assert await page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    await keys.press("Enter")
    await expect(page.locator("#passage-title")).to_be_focused()
    await keys.press("Escape")
    await expect(page.get_by_label("Source 2: Pauses")).to_be_focused()
    await keys.press("Shift+Tab")
    await keys.press("Enter")
    await expect(page.locator(".chart")).to_be_visible()
    while await focused(page) != "New conversation":
        await keys.press("Shift+Tab")
    await keys.press("Shift+Tab")
    assert await focused(page) == "Skip to the question"
    await expect(page.locator("#skip")).to_be_in_viewport()
    await keys.press("Enter")
    await expect(page.locator("#question")).to_be_focused()


async def test_the_answer_is_read_aloud_once_paragraph_by_paragraph(visitor: Visitor) -> None:
    said = visitor.page.locator("#announcements p")
    asked = await visitor.ask("What does yield do?")
    await asked.find(*SOURCES)
    await expect(said).to_have_text(["2 passages found"])
    await asked.write("The first", " paragraph.", "\n\nThe sec")
    await expect(said).to_have_text(["2 passages found", "The first paragraph."])
    await asked.answer("ond [1].")
    await expect(said).to_have_text(
        ["2 passages found", "The first paragraph.", "The second 1.", "The answer is complete, with 2 sources."]
    )


async def test_everything_has_a_name(visitor: Visitor) -> None:
    page = visitor.page
    assert await page.evaluate(NAMELESS) == []
    await answered(visitor)
    await page.click(".cite >> nth=0")
    assert await page.evaluate(NAMELESS) == []
    headings = await page.locator("h1, h2, h3, h4").evaluate_all("all => all.map((one) => Number(one.localName[1]))")
    assert 1 in headings


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_text_can_be_read_in_both_themes(browser: Browser, backstage: Backstage, theme: str) -> None:
    async with visit(browser, backstage, color_scheme=theme, viewport={"width": 1280, "height": 900}) as visitor:
        page = visitor.page
        await visitor.open()
        assert await page.evaluate(CONTRAST) == []
        await answered(visitor)
        await page.click(".timeline summary")
        await page.click(".cite >> nth=0")
        assert await page.evaluate(CONTRAST) == []
        asked = await visitor.ask("And what fails?")
        await page.wait_for_selector('.stage[data-state="pending"]')
        await asked.stage("query")
        await page.wait_for_selector('.stage[data-state="running"]')
        assert await page.evaluate(CONTRAST) == []
        await asked.fail("code", "It failed.")
        await visitor.phase("failed")
        assert await page.evaluate(CONTRAST) == []


async def test_the_theme_can_be_chosen_and_is_kept(visitor: Visitor) -> None:
    page = visitor.page
    background = "getComputedStyle(document.body).backgroundColor"
    light = await page.evaluate(background)
    await page.get_by_label("Theme: as the system").click()
    await page.get_by_label("Theme: light").click()
    await expect(page.get_by_label("Theme: dark")).to_be_visible()
    dark = await page.evaluate(background)
    assert dark != light
    await page.reload()
    assert await page.evaluate(background) == dark


async def test_nothing_is_wider_than_a_narrow_screen(browser: Browser, backstage: Backstage) -> None:
    async with visit(browser, backstage, viewport={"width": 360, "height": 700}, has_touch=True) as visitor:
        page = visitor.page

        async def assert_it_fits() -> None:
            wide = await page.evaluate(
                "['html', '#passage'].map((name) => document.querySelector(name))"
                ".map((one) => one.scrollWidth - one.clientWidth)"
            )
            assert wide == [0, 0]

        await visitor.open()
        await assert_it_fits()
        await answered(visitor)
        await page.click(".timeline summary")
        await assert_it_fits()
        await page.click(".cite >> nth=0")
        await expect(page.locator("#passage-title")).to_be_in_viewport()
        await assert_it_fits()
        await page.get_by_label("Close the passage").click()
        asked = await visitor.ask(LONG_WORD)
        await asked.fail("code", f"{LONG_WORD} failed.")
        await visitor.phase("failed")
        await assert_it_fits()
        await page.get_by_label("Conversations and documents").and_(page.locator("button")).click()
        await expect(page.locator("#new")).to_be_focused()
        await expect(page.locator("#side")).to_be_in_viewport()
        await assert_it_fits()
        await page.keyboard.press("Escape")
        await expect(page.locator("#menu")).to_be_focused()
        await visitor.backstage.down()
        await visitor.sees("No connection to the bridge.")
        await assert_it_fits()


async def test_the_page_follows_the_answer_until_the_reader_scrolls_up(visitor: Visitor) -> None:
    page = visitor.page
    asked = await visitor.ask("What does yield do?")
    await asked.find(*SOURCES)
    await asked.write("\n\n".join(f"Paragraph {number}." for number in range(60)))
    at_end = "document.documentElement.scrollHeight - innerHeight - scrollY < 5"
    await visitor.until(f"scrollY > 500 && {at_end}")
    await page.evaluate("scrollBy(0, -900)")
    await expect(page.locator("#newest")).to_be_visible()
    # What is above may grow: it is the text that stays where it is.
    read = page.locator(".answer p").nth(35)
    await expect(read).to_be_in_viewport()
    place = await read.bounding_box()
    await asked.write("\n\nMore.", "\n\nAnd more.")
    await expect(page.locator(".answer")).to_contain_text("And more.")
    assert await read.bounding_box() == place
    await page.click("#newest")
    await visitor.until(at_end)
