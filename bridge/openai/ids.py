"""IDs as OpenAI's clients know them: a prefix that says what it is, and the request ID."""

from dataclasses import dataclass

from bridge.answers import asked_ms


@dataclass(frozen=True, slots=True)
class Prefix:
    """What an ID of one kind begins with."""

    text: str

    def of(self, request_id: str) -> str:
        """The ID of the request in this kind."""
        return f"{self.text}{request_id}"

    def request_id(self, given: str) -> str | None:
        """The request ID in ``given``; None if that is an ID of another kind."""
        return given.removeprefix(self.text) if given.startswith(self.text) else None


CHAT = Prefix("chatcmpl-")
RESPONSE = Prefix("resp_")
MESSAGE = Prefix("msg_")


def created_s(request_id: str) -> int:
    """When a request was made, in Unix seconds; 0 if its ID does not say."""
    return (asked_ms(request_id) or 0) // 1000
