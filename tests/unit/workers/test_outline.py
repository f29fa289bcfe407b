"""Which headings a place in a text stands under."""

import time

import pytest

from workers.outline import Outline, context_of, heading_of, pages_of

TEXT = """Before.

# One

Text.

```python
# a comment
~~~
```python
```

  ## Two ##

More.

~~~
# not closed by other marks
```
~~~

#no heading
# Three
### Deep
End."""


@pytest.mark.parametrize(
    ("place", "path"),
    [
        ("Before", ()),
        ("# One", ()),
        ("Text", ("One",)),
        ("# a comment", ("One",)),
        ("  ## Two", ("One",)),
        ("More", ("One", "Two")),
        ("#no heading", ("One", "Two")),
        ("# Three", ()),
        ("### Deep", ("Three",)),
        ("End", ("Three", "Deep")),
    ],
)
def test_a_place_stands_under_its_headings(place: str, path: tuple[str, ...]) -> None:
    assert Outline(TEXT).path_at(TEXT.index(place)) == path


@pytest.mark.parametrize(
    ("place", "section"),
    [
        ("Before", ()),
        ("# One", ("One",)),
        ("Text", ("One",)),
        ("  ## Two", ("One", "Two")),
        ("More", ("One", "Two")),
        ("# Three", ("Three",)),
        ("End", ("Three", "Deep")),
    ],
)
def test_a_heading_opens_its_section(place: str, section: tuple[str, ...]) -> None:
    assert Outline(TEXT).section_at(TEXT.index(place)) == section


def test_headings_are_one_line_that_keeps_to_its_length() -> None:
    assert heading_of("The  title", ["The title", "One", "Two"], 100) == "One > Two"
    assert heading_of("", [], 100) == ""
    assert heading_of("", ["One", "Two"], 8) == "Two"
    assert heading_of("", ["\u00e4" * 10], 9) == "\u00e4" * 4


@pytest.mark.parametrize(
    ("start", "end", "pages"), [(0, 10, (1, 1)), (0, 11, (1, 3)), (9, 12, (1, 3)), (10, 20, (3, 3)), (25, 99, (4, 4))]
)
def test_a_piece_lies_on_its_pages(start: int, end: int, pages: tuple[int, int]) -> None:
    # The second page is empty.
    assert pages_of((0, 10, 10, 25), start, end) == pages
    assert pages_of((), start, end) == (None, None)


def test_a_text_without_headings_has_no_paths() -> None:
    assert Outline("").path_at(0) == Outline("").section_at(0) == ()
    assert Outline("Text.").path_at(3) == ()


@pytest.mark.parametrize(
    "text", ["#" * 3_000_000, "# " + " #" * 1_000_000, "# a" + " " * 1_000_000 + "b", "`" * 3_000_000]
)
def test_no_text_takes_long(text: str) -> None:
    began_s = time.monotonic()
    Outline(text)
    assert time.monotonic() - began_s < 5


def test_what_has_no_room_goes_from_the_outermost_heading() -> None:
    def cut(text: str) -> str:
        return text[:12]

    assert context_of("Title", (), cut) == "Title"
    assert context_of("Title", ("A", "B"), str) == "Title > A > B"
    assert context_of("Title", ("A", "Bbb"), cut) == "Title > Bbb"
    assert context_of("Title", ("Title", "B"), cut) == "Title > B"
    assert context_of("", ("A", "B"), cut) == "A > B"
    assert context_of("A long title of it", ("A",), cut) == "A long title"
    assert context_of("", (), cut) == ""
