from pathlib import PurePosixPath

import pytest

from backends.texts import NotTextError, decode_text, title_of


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_text_is_decoded_by_its_byte_order_mark_or_as_utf8(encoding: str) -> None:
    assert decode_text("Größe — 漢字\n".encode(encoding)) == "Größe — 漢字\n"


def test_line_ends_are_made_unix_ones() -> None:
    assert decode_text(b"a\r\nb\rc\n") == "a\nb\nc\n"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x7fELF\0\0", "binary"),
        ("Größe".encode("latin-1"), r"not utf-8 \(byte 2\); convert it to UTF-8 first"),
        (b"\xff\xfea", "not utf-16"),
    ],
)
def test_what_is_not_text_is_refused_with_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(NotTextError, match=reason):
        decode_text(data)


@pytest.mark.parametrize(
    ("text", "name", "title"),
    [
        ("\n\n# The yield statement #\n\nIt…", "a.md", "The yield statement"),
        ("=====\nTitle\n=====\n\nText", "a.rst", "Title"),
        ("= Title\n", "a.adoc", "Title"),
        ("First line.\nSecond.", "a.txt", "First line."),
        ("x" * 200, "a.txt", "a.txt"),
        ("import os\n", "a.py", "a.py"),
        ("   \n", "a.txt", "a.txt"),
    ],
)
def test_the_title_is_the_first_line_of_text_that_has_headings(text: str, name: str, title: str) -> None:
    assert title_of(text, PurePosixPath(name)) == title
