"""The language reference in ``pydoc_data.topics``, as running text: the demo corpus."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

# Underlines of headings, and the horizontal lines of tables.
_RULE = re.compile(r"([*=\-~^\"])\1{2,}|[+|][-=+|]{2,}")
_BOLD = re.compile(r"(?<!\S)\*\*([^*\n(),]+)\*\*(?!\w)")
_EMPHASIS = re.compile(r"(?<![\w*])\*(\w(?:[^*\n\"]*\w)?)\*(?![\w*])")
# First characters of lines in code, grammar, lists and tables.
_AS_IS = " |"
# Where the reference was wrapped.
_WIDTH = 70


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic: ``name`` as in ``pydoc name``."""

    name: str
    title: str
    text: str


def topics() -> Iterator[Topic]:
    """The topics of the running Python, in the order of their names."""
    from pydoc_data.topics import topics as raw  # noqa: PLC0415 - half a megabyte that only this needs

    yield from clean(raw)


def clean(raw: Mapping[str, str]) -> Iterator[Topic]:
    """Make running text of raw topics, in the order of their names.

    Whole chapters repeat their sections, which are topics too. A paragraph stays in the shortest topic that has it, so
    that one passage is not found twice; a topic that has nothing else to say is left out.
    """
    kept: dict[str, list[str]] = {}
    seen: set[str] = set()
    for name in sorted(raw, key=lambda name: (len(raw[name]), len(name), name)):
        paragraphs = [paragraph for paragraph in _paragraphs(raw[name]) if paragraph not in seen]
        seen.update(paragraphs)
        if paragraphs:
            kept[name] = paragraphs
    for name in sorted(kept):
        title = _plain(next(iter(_paragraphs(raw[name]))))
        yield Topic(name, title, "\n\n".join(kept[name]) + "\n")


def _paragraphs(text: str) -> Iterator[str]:
    """Paragraphs without headings' underlines and marks of emphasis, each of running text on one line."""
    for block in re.split(r"\n\s*\n", text):
        lines = [line.rstrip() for line in block.splitlines() if line.strip() and not _RULE.fullmatch(line.strip())]
        if lines:
            yield _plain(_unwrap(lines))


def _unwrap(lines: list[str]) -> str:
    """Join the lines of running text; all else stays as it is."""
    joined = lines[0]
    for before, line in pairwise(lines):
        word = line.split(maxsplit=1)[0]
        ended_on_purpose = len(before) + 1 + len(word) <= _WIDTH
        if before[0] in _AS_IS or line[0] in _AS_IS or ended_on_purpose:
            joined += "\n"
        elif not re.search(r"\w-$", before):
            # A hyphen at the end of a line belongs to a compound word.
            joined += " "
        joined += line
    return joined


def _plain(text: str) -> str:
    return _EMPHASIS.sub(r"\1", _BOLD.sub(r"\1", text))
