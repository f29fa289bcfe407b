"""An answer as sentences, each with the sources it cites."""

import re
from dataclasses import dataclass

_CITATION = re.compile(r"\[(\d{1,4}(?:\s*[,;]\s*\d{1,4})*)\]")
_NUMBER = re.compile(r"\d+")
# Full stops, exclamation and question marks of Chinese and Japanese need no space behind them.
_WIDE = "\u3002\uff01\uff1f"
_CLOSING = "\"'\u201d\u2019)\u00bb"
# What ends a sentence, with the quotes, brackets and citations that belong to it.
_END = re.compile(
    rf"(?:[.!?…]+|[{_WIDE}])[{_CLOSING}]*(?:\s*\[\d[\d\s,;]*\])*(?=\s|$)|\n\s*(?=\S)|(?<=[{_WIDE}])(?=\S)"
)
# A point after these ends no sentence: abbreviations, and initials of names.
_ABBREVIATED = re.compile(
    r"(?:\b(?:e\.g|i\.e|cf|vs|etc|al|approx|vol|fig|eq|dr|mr|mrs|ms|prof)|\b[A-Z])\.$", re.IGNORECASE
)
_LIST_MARK = re.compile(r"^(?:[-*•]|\d{1,3}[.)])\s+")


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of an answer without its citations; ``cited`` are their numbers, each once, in order."""

    text: str
    cited: tuple[int, ...]


def without_citations(text: str) -> str:
    """The text without marks such as [1] and [2, 3]."""
    return _CITATION.sub(" ", text)


def sentences(answer: str) -> list[Sentence]:
    """The answer's sentences; citations that follow a sentence's end belong to it. One without a word is none."""
    found = []
    start = 0
    for end in _ends(answer):
        piece = answer[start:end]
        start = end
        numbers = [int(number) for mark in _CITATION.findall(piece) for number in _NUMBER.findall(mark)]
        text = " ".join(_LIST_MARK.sub("", without_citations(piece).strip()).split())
        text = re.sub(r"\s+([.,;:!?])", r"\1", text)
        if re.search(r"\w", text):
            found.append(Sentence(text, tuple(dict.fromkeys(numbers))))
        elif numbers and found:
            found[-1] = Sentence(found[-1].text, tuple(dict.fromkeys([*found[-1].cited, *numbers])))
    return found


def _ends(text: str) -> list[int]:
    ends = []
    for match in _END.finditer(text):
        head = text[: match.start() + 1]
        is_point = match.group().startswith(".") and not match.group().startswith("..")
        if is_point and _ABBREVIATED.search(head[-8:]):
            continue
        # "3. Fill it": the mark of a list, not the end of what came before.
        if is_point and _LIST_MARK.match(text[text.rfind("\n", 0, match.start()) + 1 : match.end() + 1]):
            continue
        ends.append(match.end())
    if not ends or ends[-1] < len(text):
        ends.append(len(text))
    return ends
