"""Finds the record that kills its worker, by what dead owners of a partition left in their commits.

An owner marks its commits as open, and closes the mark when it leaves in good order. One that finds an open mark knows
that the owner before it died. From the second death in a row on, records up to where the dead may have read are handled
one at a time, each noted as the suspect before it is begun. A suspect that was handled alone at two deaths in a row is
not begun again: at one death it may have been there by chance, when somebody killed the worker from outside.

The mark follows the done-map in the commit's metadata: ``|deaths,horizon,suspect``, and after that ``,accused,times``
once a record was handled alone at a death.
"""

import re
from dataclasses import dataclass

DEATHS_UNTIL_CAREFUL = 2
DEATHS_ALONE_UNTIL_QUARANTINE = 2

_SEPARATOR = "|"
_MARK = re.compile(r"(\d{1,9}),(\d{1,19}),(\d{1,19}|-)(?:,(\d{1,19}),(\d{1,9}))?")


@dataclass(frozen=True, slots=True)
class Mark:
    """What an owner knows. ``deaths`` are those in a row before it, ``horizon`` the last offset that the dead may have
    begun, ``suspect`` the offset that is being handled alone, ``accused`` the one that was so at ``times`` deaths.
    """

    deaths: int = 0
    horizon: int = 0
    suspect: int | None = None
    accused: int | None = None
    times: int = 0

    def encode(self) -> str:
        """The end of a commit's metadata."""
        mark = f"{_SEPARATOR}{self.deaths},{self.horizon},{'-' if self.suspect is None else self.suspect}"
        return mark if self.accused is None else f"{mark},{self.accused},{self.times}"

    def is_careful(self, offset: int) -> bool:
        """Whether the record is to be handled alone."""
        return self.deaths >= DEATHS_UNTIL_CAREFUL and offset <= self.horizon


def split(metadata: str) -> tuple[str, Mark | None]:
    """The done-map and the mark of a commit's metadata; None where its owner left in good order."""
    runs, _, mark = metadata.partition(_SEPARATOR)
    match = _MARK.fullmatch(mark)
    if match is None:
        return runs, None
    deaths, horizon, suspect, accused, times = match.groups()
    return runs, Mark(
        int(deaths),
        int(horizon),
        None if suspect == "-" else int(suspect),
        None if accused is None else int(accused),
        int(times or 0),
    )


def take_over(left: Mark | None, watermark: int, reach: int) -> tuple[Mark, int | None]:
    """The new owner's mark, and the offset that is to be quarantined, if any.

    ``reach`` bounds how many records beyond the watermark an owner has begun.
    """
    if left is None:
        return Mark(), None
    # Also what was begun beside a suspect is handled alone the next time: only then is one of them found out.
    horizon = watermark + reach
    if left.deaths == 0 or watermark > left.horizon:
        # Nothing is left of what earlier owners died with.
        return Mark(deaths=1, horizon=horizon), None
    accused, times = left.accused, left.times
    if left.suspect is not None and left.suspect >= watermark:
        accused, times = left.suspect, times + 1 if left.suspect == accused else 1
    if times >= DEATHS_ALONE_UNTIL_QUARANTINE:
        return Mark(), accused
    return Mark(left.deaths + 1, horizon, accused=accused, times=times), None
