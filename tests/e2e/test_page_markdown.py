"""Markdown in the page: what it becomes, and what hostile text becomes of it, in a real Chromium."""

import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.fixtures.browser import Backstage, Visitor, passage, visit

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(90)]

# Gives the markup of a text, as the page would show it. Sources 1 to 3 are known.
SHOW = """async ([text, steps]) => {
  const { MarkdownView } = await import("/markdown.js");
  const element = document.createElement("div");
  document.body.append(element);
  const button = (number) => Object.assign(document.createElement("button"), { textContent: `${number}` });
  const cite = (number) => (number > 3 ? null : button(number));
  const view = new MarkdownView(element, cite);
  for (const step of steps) view.update(text.slice(0, step), false);
  const begin = performance.now();
  view.update(text, true);
  const took = performance.now() - begin;
  const all = [...element.querySelectorAll("*")];
  const found = {
    html: element.innerHTML,
    text: element.textContent,
    tags: [...new Set(all.map((one) => one.localName))],
    attributes: [...new Set(all.flatMap((one) => one.getAttributeNames()))],
    links: all.filter((one) => one.localName === "a").map((one) => one.href),
    took,
  };
  element.remove();
  return found;
}"""

TAGS = {
    *("p", "h3", "h4", "h5", "h6", "ul", "ol", "li", "blockquote", "hr", "br", "em", "strong", "del", "code", "pre"),
    *("div", "span", "a", "button", "table", "thead", "tbody", "tr", "th", "td", "svg", "path"),
}
ATTRIBUTES = {
    *("href", "target", "rel", "class", "type", "tabindex", "role", "aria-label", "aria-hidden", "start"),
    *("viewBox", "d"),
}

CASES = {
    "a *b* **c** ***d*** ~~e~~": "<p>a <em>b</em> <strong>c</strong> <em><strong>d</strong></em> <del>e</del></p>",
    "snake_case_name and _this_": "<p>snake_case_name and <em>this</em></p>",
    "2 * 3 * 4": "<p>2 * 3 * 4</p>",
    "**open": "<p>**open</p>",
    "*a **b** c*": "<p><em>a <strong>b</strong> c</em></p>",
    "`a *b*` and ``c ` d``": "<p><code>a *b*</code> and <code>c ` d</code></p>",
    r"\*not\* &lt;b&gt;": "<p>*not* &lt;b&gt;</p>",
    "# One\n## Two": "<h3>One</h3><h4>Two</h4>",
    "one\ntwo  \nthree": "<p>one\ntwo<br>three</p>",
    "one\n\ntwo": "<p>one</p><p>two</p>",
    "- a\n- b\n  - c\n\n- d": "<ul><li>a</li><li>b<ul><li>c</li></ul></li><li>d</li></ul>",
    "3. a\n4. b": '<ol start="3"><li>a</li><li>b</li></ol>',
    "1. a\n   - b\n2. c": "<ol><li>a<ul><li>b</li></ul></li><li>c</li></ol>",
    "> a\n> b": "<blockquote><p>a\nb</p></blockquote>",
    "---": "<hr>",
    "a [1], b [2, 3].": "<p>a <button>1</button>, b <button>2</button><button>3</button>.</p>",
    "a [4] b [1, 9]": "<p>a [4] b [1, 9]</p>",
    "[x] is not a link": "<p>[x] is not a link</p>",
    "see https://a.example/b_c.": (
        '<p>see <a href="https://a.example/b_c" target="_blank" rel="noopener noreferrer nofollow">'
        "https://a.example/b_c</a>.</p>"
    ),
    "[t](https://a.example/b)": (
        '<p><a href="https://a.example/b" target="_blank" rel="noopener noreferrer nofollow">t</a>'
        '<span class="host"> (a.example)</span></p>'
    ),
    "![t](https://a.example/b)": (
        '<p><a href="https://a.example/b" target="_blank" rel="noopener noreferrer nofollow">Picture: t</a>'
        '<span class="host"> (a.example)</span></p>'
    ),
}

HOSTILE = [
    "<script>window.pwned = 1</script>",
    "<img src=x onerror='window.pwned = 1'>",
    "<svg onload=window.pwned=1><iframe src='http://evil.example/'></iframe>",
    "![x](http://evil.example/pixel.png) ![x](//evil.example/p) ![][a]\n\n[a]: http://evil.example/a.png",
    "[x](javascript:window.pwned=1) [x](JaVaScRiPt:window.pwned=1) [x](java\tscript:window.pwned=1)",
    "[x](data:text/html,<script>window.pwned=1</script>) [x](vbscript:x) [x](file:///etc/passwd) [x](blob:x)",
    "[x](https://user:password@evil.example/) [x](//evil.example) [x](/v1/queries) [x](#a)",
    "<a href='javascript:window.pwned=1'>x</a> <javascript:window.pwned=1> <https://ok.example/\"onclick=x>",
    '[x](https://ok.example/"onmouseover="window.pwned=1) [x](https://ok.example "a" onclick=b)',
    '```html\n<script>window.pwned=1</script>\n```\n~~~"><img src=x onerror=window.pwned=1>\nx',
    "| <img src=x onerror=window.pwned=1> | b |\n|---|---|\n| `<script>` | [x](javascript:1) |",
    "<style>@import 'http://evil.example/a.css';</style><link rel=stylesheet href=http://evil.example/b.css>",
    "<meta http-equiv=refresh content='0;url=http://evil.example/'><base href=http://evil.example/>",
    "<form action=http://evil.example/><input autofocus onfocus=window.pwned=1></form>",
    "\u202egnp.exe [x](https://ok.example/\u202etxt) \x00\x01\ufffe \U000e0041",
]

PIECES = [
    *"*_`~[]()<>!#|-+>\\\n &;:.\"'",
    *("**", "__", "~~", "```", "~~~", "[1]", "[2, 3]", "](", "](https://a.example/)", "](javascript:x)", "!["),
    *("<b>", "</b>", "<br>", "<script>", "onerror=", "&lt;", "&nbsp;", "\t", "  ", "    ", "\u202e"),
    *("\n\n", "\n- ", "\n1. ", "\n  - ", "\n> ", "\n# ", "\n---\n", "|---|---|\n", "| a | b |\n"),
    *("https://a.example/x", "word", "Wörter", "字", "🙂"),
]

LENGTH = 60_000
LONG = {
    "stars": "*" * LENGTH,
    "stars and words": "*a **b " * (LENGTH // 7),
    "underscores": "_a __b" * (LENGTH // 6),
    "nested emphasis": "**a" * (LENGTH // 6) + "**" * (LENGTH // 6),
    "brackets": "[" * LENGTH,
    "closed brackets": "[" * (LENGTH // 2) + "]" * (LENGTH // 2),
    "links": "[a](https://a.example/" * (LENGTH // 22),
    "destinations": "](((" * (LENGTH // 4),
    "backticks": "".join("`" * (number % 50) + "a" for number in range(LENGTH // 25)),
    "quotes": ">" * LENGTH,
    "nested lists": "\n".join(" " * number + "- a" for number in range(340)),
    "list of quotes": "- > " * (LENGTH // 4),
    "blank lines in a list": "- a\n" + "\n" * LENGTH + "b",
    "many lists": "- a\n\n" * (LENGTH // 5),
    "table of cells": "|a" * 1_000 + "\n" + "|-" * 1_000 + "\n" + ("|b" * 1_000 + "\n") * 20,
    "almost tables": "a|b\n" * (LENGTH // 4),
    "heading": "# " + "# " * (LENGTH // 2),
    "rules": "- " * (LENGTH // 2) + "x",
    "spaces": "a" + " " * LENGTH + "b",
    "fences": "```\n" * (LENGTH // 4),
    "ampersands": "&" * LENGTH,
    "citations": "[1, 2" * (LENGTH // 5),
    "one word": "a" * LENGTH,
    "addresses": "https://" * (LENGTH // 8),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def page(browser: Browser) -> AsyncIterator[Page]:
    """A page for all texts that are shown apart from any conversation."""
    backstage = Backstage()
    await backstage.up()
    async with visit(browser, backstage) as visitor:
        await visitor.open()
        yield visitor.page
        visitor.assert_clean()
    await backstage.down()


async def render(page: Page, text: str, steps: tuple[int, ...] = ()) -> Any:
    return await page.evaluate(SHOW, [text, steps])


def assert_harmless(found: Any) -> None:
    assert set(found["tags"]) <= TAGS, found
    assert set(found["attributes"]) <= ATTRIBUTES, found
    assert all(link.startswith(("http://", "https://")) for link in found["links"]), found


async def test_markdown_becomes_what_it_means(page: Page) -> None:
    for text, html in CASES.items():
        assert (await render(page, text))["html"] == html, text


async def test_code_and_tables_are_shown_as_such(page: Page) -> None:
    code = await render(page, "- item:\n\n  ```python\n  if a < b:\n      pass\n  ```\n\nafter")
    assert "if a &lt; b:\n    pass</code>" in code["html"]
    assert code["html"].endswith("<p>after</p>")
    unfinished = await render(page, "```\na\n\n*b*")
    assert "<code>a\n\n*b*</code>" in unfinished["html"]
    table = await render(page, "| a | b |\n|:--|--:|\n| `x` | 1 \\| 2 |\n\nafter")
    assert '<tr><th>a</th><th class="right">b</th></tr>' in table["html"]
    assert '<td><code>x</code></td><td class="right">1 | 2</td>' in table["html"]


async def test_a_text_that_comes_in_pieces_ends_as_if_it_came_whole(page: Page) -> None:
    text = "# A\n\nOne **two** [1].\n\n- a\n- b\n\n```py\nx\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\nend"
    whole = await render(page, text)
    piecewise = await render(page, text, tuple(range(1, len(text))))
    assert piecewise["html"] == whole["html"]


async def test_what_is_whole_already_stays_when_more_comes(page: Page) -> None:
    kept = await page.evaluate(
        """async () => {
          const { MarkdownView } = await import("/markdown.js");
          const element = document.createElement("div");
          const view = new MarkdownView(element, () => null);
          view.update("one\\n\\ntw", false);
          const first = element.firstChild;
          view.update("one\\n\\ntwo\\n\\nthree", false);
          return first === element.firstChild && element.childElementCount === 3;
        }"""
    )
    assert kept


@pytest.mark.parametrize("seed", range(4))
async def test_generated_text_is_harmless_and_nothing_of_it_is_lost(page: Page, seed: int) -> None:
    made = random.Random(seed)
    for _ in range(150):
        text = "".join(made.choice(PIECES) for _ in range(made.randrange(1, 80)))
        found = await render(page, text)
        assert_harmless(found)
        for word in ("word", "Wörter", "字", "🙂"):
            # The language of a code block stands above it; what follows it on that line is left out.
            if "```" not in text and "~~~" not in text and "|" not in text:
                assert found["text"].count(word) >= text.count(word), text


@pytest.mark.parametrize("name", LONG)
async def test_no_text_takes_the_page_long(page: Page, name: str) -> None:
    found = await render(page, LONG[name])
    assert_harmless(found)
    assert found["took"] < 2_000, f"{found['took']:.0f} ms"


async def test_hostile_text_in_an_answer_and_in_a_passage_does_nothing(visitor: Visitor) -> None:
    page = visitor.page
    sources = [passage(number + 1, text, text, text) for number, text in enumerate(HOSTILE)]
    asked = await visitor.ask("<img src=x onerror=window.pwned=1>")
    await asked.find(*sources)
    await asked.write("\n\n".join(HOSTILE))
    await asked.answer("\n\nSeen [1].")
    await visitor.phase("answered")
    for number in range(len(HOSTILE)):
        await page.click(f".sources .source >> nth={number}")
        await expect(page.locator(".passage-count")).to_contain_text(f"Source {number + 1} of")
        # What the page asks for is noted by then: a frame has passed.
        await page.evaluate("new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)))")
        for link in await page.locator(".passage a").all():
            assert (await link.get_attribute("href") or "").startswith(("http://", "https://"))
    tags = await page.evaluate("[...document.querySelectorAll('main *, dialog *')].map((one) => one.localName)")
    assert not set(tags) & {"script", "img", "iframe", "style", "link", "meta", "base", "form"} - {"form"}
    assert await page.locator("main form, main input").count() == 2
    links = await page.evaluate("[...document.querySelectorAll('.answer a')].map((one) => one.href)")
    assert all(link.startswith(("http://", "https://")) for link in links)
    assert not any("@" in link for link in links)
    assert await page.evaluate("window.pwned") is None
    await page.reload()
    await visitor.phase("answered")
    assert await page.evaluate("window.pwned") is None
