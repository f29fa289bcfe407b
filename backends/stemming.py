"""Text to the stems of its words, as keyword search compares them.

Stemmed here and not in the store, every store finds the same.
"""

import re
import unicodedata

import Stemmer

LANGUAGES: tuple[str, ...] = tuple(Stemmer.algorithms())
_WORD = re.compile(r"[^\W_]+")
# Words that are in most texts, and so tell nothing about any (those of Lucene's EnglishAnalyzer). The texts that hold
# one of them are what takes longest to score.
_ENGLISH = (
    "a an and are as at be but by for if in into is it no not of on or such that the their then there these they this "
    "to was will with"
)
_STOP_WORDS: dict[str, frozenset[str]] = {"english": frozenset(_ENGLISH.split())}


def stems(text: str, language: str) -> list[str]:
    """The words of the text in lower case, each without its ending (Snowball; https://snowballstem.org)."""
    return _stemmed(_words(text), language)


def query_stems(text: str, language: str) -> list[str]:
    """The same without stop words, where the language has a list of them and the text has other words."""
    words = _words(text)
    stop_words = _STOP_WORDS.get(language, frozenset())
    return _stemmed([word for word in words if word not in stop_words] or words, language)


def stemmed(text: str, language: str, max_bytes: int) -> str:
    """The stems with a space between them, as many of the first as fit ``max_bytes`` of UTF-8."""
    joined = " ".join(stems(text, language))
    data = joined.encode()
    if len(data) <= max_bytes:
        return joined
    return data[: max_bytes + 1].decode(errors="ignore").rpartition(" ")[0]


def _words(text: str) -> list[str]:
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def _stemmed(words: list[str], language: str) -> list[str]:
    # One stemmer per call: it must not be used in two threads at a time.
    found: list[str] = Stemmer.Stemmer(language).stemWords(words)
    return found
