"""Which headings a place in a text stands under."""

import time

import pytest

from workers.outline import Outline, context_of

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


def test_a_text_without_headings_has_no_paths() -> None:
    assert Outline("").path_at(0) == ()
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
