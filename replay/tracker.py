"""What is known of the requests of a replay while it runs: which were sent, and how each ended. Pure, without I/O."""

import hashlib
from collections import Counter

_HASH_BYTES = 8


def name_of(request_id: str) -> int:
    """A request's name here: as good as its ID, and a fifth of the memory.

    Of a million requests two have the same one with a chance of 3 in 100 million.
    """
    return int.from_bytes(hashlib.blake2b(request_id.encode("utf-8", "replace"), digest_size=_HASH_BYTES).digest())


class Tracker:
    """Requests by name: how many were ``sent`` and have ``ended``, and how. ``repeated`` counts further endings."""

    def __init__(self) -> None:
        self._ended: dict[int, bool] = {}
        self.sent = 0
        self.ended = 0
        self.repeated = 0
        self.states: Counter[str] = Counter()

    @property
    def pending(self) -> int:
        """Requests that were sent and have not ended."""
        return self.sent - self.ended

    def send(self, request_id: str) -> bool:
        """Note a request; False if it was sent before."""
        name = name_of(request_id)
        if name in self._ended:
            return False
        self._ended[name] = False
        self.sent += 1
        return True

    def end(self, request_id: str, state: str) -> bool:
        """Note how a request ended; False if it was not sent, or had ended."""
        name = name_of(request_id)
        ended = self._ended.get(name)
        if ended is not False:
            self.repeated += bool(ended)
            return False
        self._ended[name] = True
        self.ended += 1
        self.states[state] += 1
        return True

    def forget(self) -> None:
        """Let go of the names; only the counts are of interest any more."""
        self._ended.clear()
