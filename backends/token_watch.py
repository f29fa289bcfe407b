"""Tells a hung engine from a busy one. Pure: the caller brings the time."""


class TokenWatch:
    """Watches the progress of one engine.

    An engine that has requests brings a token for one of them every now and then; one request alone may wait for long,
    because others fill the engine or have priority. So an engine counts as hung for who has waited ``timeout_s`` in
    which no request got a token. Times are seconds of one monotonic clock.
    """

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._token_at = float("-inf")

    def token(self, now: float) -> None:
        """Note a token of any request."""
        self._token_at = now

    def seconds_left(self, now: float, waiting_since: float) -> float:
        """How long the engine may still be silent to one who waits; 0 when it counts as hung."""
        return max(0.0, max(self._token_at, waiting_since) + self.timeout_s - now)
