"""The answer's text for those to whom nothing can be said back.

OpenAI's streams have no word for "drop what you have". So what a higher attempt repeats of the text that was sent is
held back, and it goes on from there; one that says something else cannot go on.
"""

from bridge.messages import Delta


class RestartedError(Exception):
    """The answer was begun anew with other words than were sent."""


class SteadyText:
    """The text sent so far, and what may be sent next. Pure: equal messages, equal pieces."""

    def __init__(self) -> None:
        self.sent = ""
        self._attempt = 0
        self._draft = ""

    def take(self, delta: Delta) -> str:
        """The new text that a delta brings.

        Raises:
            RestartedError: it contradicts what was sent.
        """
        if delta.attempt != self._attempt:
            self._attempt, self._draft = delta.attempt, ""
        return self._say(self._draft + delta.text)

    def finish(self, answer: str) -> str:
        """What is missing of the whole answer.

        Raises:
            RestartedError: it contradicts what was sent.
        """
        if not answer.startswith(self.sent):
            raise RestartedError
        return self._say(answer)

    def _say(self, draft: str) -> str:
        self._draft = draft
        if self.sent.startswith(draft):
            return ""
        if not draft.startswith(self.sent):
            raise RestartedError
        new = draft[len(self.sent) :]
        self.sent = draft
        return new
