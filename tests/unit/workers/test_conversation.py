from hypothesis import given
from hypothesis import strategies as st

from schemas.values import ChatMessage
from workers.conversation import assemble, latest

MESSAGES = st.lists(
    st.builds(
        ChatMessage, role=st.sampled_from(["system", "user", "assistant"]), content=st.text(min_size=1, max_size=9)
    )
)
PROMPT = (ChatMessage(role="system", content="Cite."), ChatMessage(role="user", content="Passages. Why?"))


def chat(*lines: str) -> list[ChatMessage]:
    return [ChatMessage.model_validate(dict(zip(("role", "content"), line.split(": "), strict=True))) for line in lines]


def test_the_prompt_alone_stays_as_it_is() -> None:
    assert assemble(PROMPT, ()) == PROMPT
    assert assemble(PROMPT[1:], ()) == PROMPT[1:]


def test_history_comes_between_and_its_instructions_join_the_system_message() -> None:
    history = chat("system: In French.", "user: Hello", "assistant: Hi", "system: Briefly.")
    assert list(assemble(PROMPT, history)) == chat(
        "system: Cite.\n\nIn French.\n\nBriefly.", "user: Hello", "assistant: Hi", "user: Passages. Why?"
    )


def test_sides_change_with_every_message() -> None:
    history = chat("assistant: Welcome", "user: a", "user: b", "assistant: c", "assistant: d", "user: e")
    assert list(assemble(PROMPT[1:], history)) == chat("user: a\n\nb", "assistant: c\n\nd", "user: e\n\nPassages. Why?")


@given(MESSAGES)
def test_every_chat_opens_with_the_user_and_alternates(history: list[ChatMessage]) -> None:
    system, *turns = [message.role for message in assemble(PROMPT, history)]
    assert system == "system"
    assert turns == [("user", "assistant")[at % 2] for at in range(len(turns))]
    assert len(turns) % 2 == 1


@given(MESSAGES, st.integers(0, 50))
def test_the_latest_messages_are_kept_as_long_as_they_fit(history: list[ChatMessage], limit: int) -> None:
    def fits(messages: object) -> bool:
        assert isinstance(messages, list)
        return sum(len(message.content) for message in messages) <= limit

    kept = latest(history, fits)
    system = [message for message in history if message.role == "system"]
    others = [message for message in history if message.role != "system"]
    spoken = [message for message in kept if message.role != "system"]
    assert list(kept) == system + spoken
    assert spoken == others[len(others) - len(spoken) :]
    if spoken:
        assert fits(list(kept))
    if len(spoken) < len(others):
        assert not fits([*system, *others[-len(spoken) - 1 :]])
