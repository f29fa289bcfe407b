"""Bytes to text, and a title for it: pure functions."""

import codecs
import re
from pathlib import PurePosixPath

_BOMS = (
    # UTF-32's begins with UTF-16's.
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_HEADED_SUFFIXES = frozenset({".adoc", ".markdown", ".md", ".org", ".rst", ".text", ".txt"})
_HEADING_MARKS = re.compile(r"^(#{1,6}|={1,6}|\*)\s+|\s+#+$")
_UNDERLINE = re.compile(r"([=\-~^*#\"'`+])\1{2,}")
_MAX_TITLE_CHARS = 120


class NotTextError(ValueError):
    """The bytes are not text in an encoding that can be known; the message says why."""


def decode_text(data: bytes) -> str:
    """Decode by byte order mark, else as UTF-8, with Unix line ends. No other encoding is guessed at.

    Raises:
        NotTextError: binary data, or text in another encoding.
    """
    encoding = next((name for mark, name in _BOMS if data.startswith(mark)), None)
    if encoding is None and b"\0" in data:
        msg = "binary"
        raise NotTextError(msg)
    try:
        text = data.decode(encoding or "utf-8")
    except UnicodeDecodeError as error:
        msg = f"not {error.encoding} (byte {error.start}); convert it to UTF-8 first"
        raise NotTextError(msg) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def title_of(text: str, name: PurePosixPath) -> str:
    """The first line of text that has headings, without the marks of one; else, or if it is long, the file's name."""
    if name.suffix in _HEADED_SUFFIXES:
        for line in text.splitlines():
            title = _HEADING_MARKS.sub("", line.strip())
            if not title or _UNDERLINE.fullmatch(title):
                continue
            return title if len(title) <= _MAX_TITLE_CHARS else name.name
    return name.name
