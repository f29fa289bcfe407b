"""Where in a document's structure a place is: the headings that it stands under. Pure."""

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence

# ATX headings and fences of code, CommonMark 0.31, sections 4.2 and 4.5.
_MARK = re.compile(
    r"^ {0,3}(?:(?P<fence>`{3,}|~{3,})(?P<info>[^\n]*)|(?P<hashes>#{1,6})[ \t](?P<heading>[^\n]*))", re.MULTILINE
)
_SEPARATOR = " > "


class Outline:
    """The headings of a Markdown text, and which of them enclose a place."""

    def __init__(self, text: str) -> None:
        self._starts: list[int] = []
        self._paths: list[tuple[str, ...]] = []
        stack: list[tuple[int, str]] = []
        fence = ""
        for mark in _MARK.finditer(text):
            opened = mark["fence"]
            if opened and not fence:
                fence = opened
            elif opened and opened.startswith(fence) and not mark["info"].strip():
                fence = ""
            elif not opened and not fence and (heading := _words(mark["heading"])):
                level = len(mark["hashes"])
                stack = [(above, words) for above, words in stack if above < level]
                # A heading stands under those above it; what follows stands under it, too.
                self._add(mark.start(), stack)
                stack.append((level, heading))
                self._add(mark.end(), stack)

    def path_at(self, place: int) -> tuple[str, ...]:
        """Headings from the outermost; a heading's own line stands under those above it."""
        at = bisect_right(self._starts, place)
        return self._paths[at - 1] if at else ()

    def section_at(self, place: int) -> tuple[str, ...]:
        """The same, but of a heading's own line it is the section that it opens."""
        at = bisect_right(self._starts, place)
        # Each heading has two entries, for its beginning and for its end.
        at += at % 2
        return self._paths[at - 1] if at else ()

    def _add(self, start: int, stack: Sequence[tuple[int, str]]) -> None:
        self._starts.append(start)
        self._paths.append(tuple(heading for _, heading in stack))


def heading_of(title: str, path: Sequence[str], max_bytes: int) -> str:
    """The headings in one line, without one that is the document's title; of too many the outermost go."""
    title = " ".join(title.split())
    headings = [heading for heading in path if heading != title]
    while len(headings) > 1 and len(_SEPARATOR.join(headings).encode()) > max_bytes:
        del headings[0]
    return _SEPARATOR.join(headings).encode()[:max_bytes].decode(errors="ignore")


def pages_of(page_starts: Sequence[int], start: int, end: int) -> tuple[int | None, int | None]:
    """The pages, from 1, on which ``text[start:end]`` begins and ends; None and None of a document without pages."""
    if not page_starts:
        return None, None
    first, last = (max(1, bisect_right(page_starts, place)) for place in (start, max(start, end - 1)))
    return first, last


def _words(heading: str) -> str:
    """A heading without the marks that may close it."""
    heading = heading.strip()
    open_ = heading.rstrip("#")
    return open_.rstrip() if not open_ or open_[-1] in " \t" else heading


def context_of(title: str, path: Sequence[str], cut: Callable[[str], str]) -> str:
    """What a chunk is about, in one line: the document's title and the headings over the chunk.

    ``cut`` shortens text to what there is room for; what does not fit goes from the outermost heading on.
    """
    title = " ".join(title.split())
    headings = [heading for heading in path if heading != title]
    while headings:
        whole = _SEPARATOR.join(filter(None, [title, *headings]))
        if cut(whole) == whole:
            return whole
        del headings[0]
    return cut(title)
