"""What was said before in a conversation, and how it goes into a prompt. Pure."""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import TypeAlias

from schemas.values import ChatMessage

# Whether these messages are not too many.
Fits: TypeAlias = Callable[[Sequence[ChatMessage]], bool]

_BLANK_LINE = "\n\n"


def latest(messages: Sequence[ChatMessage], fits: Fits) -> tuple[ChatMessage, ...]:
    """The system messages, which are instructions, and as many of the last others as fit with them."""
    system = [message for message in messages if message.role == "system"]
    others = [message for message in messages if message.role != "system"]
    count = 0
    while count < len(others) and fits([*system, *others[-count - 1 :]]):
        count += 1
    return (*system, *others[len(others) - count :])


def assemble(prompt: Sequence[ChatMessage], history: Sequence[ChatMessage]) -> tuple[ChatMessage, ...]:
    """The whole chat: the prompt's system message with the history's instructions after it, the history, and the
    prompt's last message.

    Models are trained on chats that open with the user and change sides with every message, and the chat templates of
    some refuse others: messages of one side in a row become one, and what an assistant said first is left out.
    """
    *before, last = prompt
    chat = [*before, *history]
    system = [message for message in chat if message.role == "system"]
    turns = [message for message in chat if message.role != "system"]
    opening = next((at for at, turn in enumerate(turns) if turn.role == "user"), len(turns))
    return tuple(
        ChatMessage(role=role, content=_BLANK_LINE.join(message.content for message in group))
        for role, group in groupby([*system, *turns[opening:], last], key=lambda message: message.role)
    )
