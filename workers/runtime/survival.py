"""Finds the record that kills its worker, by what dead owners of a partition left in their commits.

An owner marks its commits as open, and closes the mark when it leaves in good order. One that finds an open mark knows
that the owner before it died. From the second death in a row on, records up to where the dead may have read are handled
one at a time, each noted as the suspect before it is begun; a suspect whose handling was the third death is not begun
again.

The mark follows the done-map in the commit's metadata: ``|deaths,horizon,suspect``.
"""

import re
from dataclasses import dataclass

DEATHS_UNTIL_CAREFUL = 2
DEATHS_UNTIL_QUARANTINE = 3

_SEPARATOR = "|"
_MARK = re.compile(r"(\d{1,9}),(\d{1,19}),(\d{1,19}|-)")


@dataclass(frozen=True, slots=True)
class Mark:
    """What an owner knows. ``deaths`` are those in a row before it, ``horizon`` the last offset that the dead may have
    begun, ``suspect`` the offset that is being handled alone.
    """

    deaths: int = 0
    horizon: int = 0
    suspect: int | None = None

    def encode(self) -> str:
        """The end of a commit's metadata."""
        return f"{_SEPARATOR}{self.deaths},{self.horizon},{'-' if self.suspect is None else self.suspect}"

    def is_careful(self, offset: int) -> bool:
        """Whether the record is to be handled alone."""
        return self.deaths >= DEATHS_UNTIL_CAREFUL and offset <= self.horizon


def split(metadata: str) -> tuple[str, Mark | None]:
    """The done-map and the mark of a commit's metadata; None where its owner left in good order."""
    runs, _, mark = metadata.partition(_SEPARATOR)
    match = _MARK.fullmatch(mark)
    if match is None:
        return runs, None
    deaths, horizon, suspect = match.groups()
    return runs, Mark(int(deaths), int(horizon), None if suspect == "-" else int(suspect))


def take_over(left: Mark | None, watermark: int, reach: int) -> tuple[Mark, int | None]:
    """The new owner's mark, and the offset that is to be quarantined, if any.

    ``reach`` bounds how many records beyond the watermark an owner has begun.
    """
    if left is None:
        return Mark(), None
    if left.deaths == 0 or watermark > left.horizon:
        # Nothing is left of what earlier owners died with.
        return Mark(deaths=1, horizon=watermark + reach), None
    deaths = left.deaths + 1
    if deaths >= DEATHS_UNTIL_QUARANTINE and left.suspect is not None and left.suspect >= watermark:
        return Mark(), left.suspect
    return Mark(deaths=deaths, horizon=left.horizon), None
