"""Two answers side by side, with what only one of them says marked."""

import re
from difflib import SequenceMatcher

from markupsafe import Markup, escape

MAX_CHARS = 4_000
_PIECE = re.compile(r"\s+|\w+|[^\w\s]")


def side_by_side(ours: str, theirs: str) -> tuple[Markup, Markup]:
    """Both texts as HTML; what the other has not is in ``<mark>``. Longer ones than ``MAX_CHARS`` are cut."""
    left, right = _PIECE.findall(_cut(ours)), _PIECE.findall(_cut(theirs))
    matcher = SequenceMatcher(None, left, right, autojunk=False)
    marked: tuple[list[str], list[str]] = ([], [])
    for kind, left_from, left_to, right_from, right_to in matcher.get_opcodes():
        for side, pieces in ((0, left[left_from:left_to]), (1, right[right_from:right_to])):
            text = escape("".join(pieces))
            if text:
                marked[side].append(text if kind == "equal" or not text.strip() else f"<mark>{text}</mark>")
    return Markup("".join(marked[0])), Markup("".join(marked[1]))  # noqa: S704 - every piece is escaped


def _cut(text: str) -> str:
    return text if len(text) <= MAX_CHARS else text[:MAX_CHARS] + " …"
