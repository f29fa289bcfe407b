"""Text to the stems of its words, as keyword search compares them.

Stemmed here and not in the store, every store finds the same.
"""

import re
import unicodedata

import Stemmer

LANGUAGES: tuple[str, ...] = tuple(Stemmer.algorithms())
_WORD = re.compile(r"[^\W_]+")


def stems(text: str, language: str) -> list[str]:
    """The words of the text in lower case, each without its ending (Snowball; https://snowballstem.org)."""
    # One stemmer per call: it must not be used in two threads at a time.
    stemmer = Stemmer.Stemmer(language)
    found: list[str] = stemmer.stemWords(_WORD.findall(unicodedata.normalize("NFKC", text).casefold()))
    return found


def stemmed(text: str, language: str, max_bytes: int) -> str:
    """The stems with a space between them, as many of the first as fit ``max_bytes`` of UTF-8."""
    joined = " ".join(stems(text, language))
    data = joined.encode()
    if len(data) <= max_bytes:
        return joined
    return data[: max_bytes + 1].decode(errors="ignore").rpartition(" ")[0]
