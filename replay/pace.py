"""How fast a replay goes."""

import time
from collections import deque
from collections.abc import Callable

_WINDOW_S = 20.0


class Pace:
    """Endings a second over the last 20 seconds, and the time since the latest. ``clock`` gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._notes: deque[tuple[float, int]] = deque()
        self._changed_s = clock()

    def note(self, ended: int, *, pending: int) -> None:
        """So many have ended by now, and so many are waited for."""
        now_s = self._clock()
        if not pending or not self._notes or self._notes[-1][1] != ended:
            self._changed_s = now_s
        self._notes.append((now_s, ended))
        while self._notes[0][0] < now_s - _WINDOW_S:
            self._notes.popleft()

    @property
    def per_second(self) -> float:
        """Endings a second; 0 before any is known."""
        if len(self._notes) < 2:  # noqa: PLR2004 - a difference needs two
            return 0.0
        (began_s, first), (now_s, last) = self._notes[0], self._notes[-1]
        return (last - first) / (now_s - began_s) if now_s > began_s else 0.0

    @property
    def idle_s(self) -> float:
        """Seconds without an ending that was waited for."""
        return self._clock() - self._changed_s
