"""What the processes of the benchmark of first tokens are told, and the prompts."""

from pydantic import BaseModel, ConfigDict

from schemas.events import PromptBuilt
from schemas.examples import EXAMPLE_BY_TYPE
from schemas.values import ChatMessage, Sampling
from topics.names import Namespace

TENANT = "default"
# Some 200 tokens, as much as a question with two passages.
_PASSAGE = (
    "A generator is a function that contains a yield expression. When it is called, it returns an iterator known as a "
    "generator iterator, and its body does not run. Each time the next value is wanted, the body runs up to the next "
    "yield expression, where its state is kept: the local variables, the place in the text, and the pending work."
)


# A prime: its multiples, modulo a smaller number, come in no order.
_SCATTER = 7_919


class ChildOptions(BaseModel):
    """Addresses, and how the engine runs. ``engine`` echo makes a quick trial without a model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bootstrap_servers: str
    redis_url: str
    engine: str
    engine_path: str = ""
    max_num_seqs: int = 32


def names_of(guarantee: str) -> Namespace:
    """Each guarantee has a namespace of its own."""
    return Namespace(f"bench-{guarantee}".replace("_", "-"))


class Direct(BaseModel):
    """One order to the engine's process: generate ``count`` answers of ``mean_tokens`` on average, ``concurrent`` at a
    time, without the pipeline.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str
    count: int
    concurrent: int
    mean_tokens: int


def prompt(label: str, number: int, mean_tokens: int) -> PromptBuilt:
    """A prompt that begins as no other does: what the engine has computed for one is of no use to the next.

    Answers end after half to one and a half times ``mean_tokens``, in an order without a pattern: if they were of one
    length, all that run at a time would end in one step of the engine, and whether the next began in one step too, or
    in several, would decide the times to the first token.
    """
    example = EXAMPLE_BY_TYPE[PromptBuilt.TYPE]
    assert isinstance(example, PromptBuilt)  # noqa: S101 - by its type
    messages = (
        ChatMessage(role="system", content=f"{number:05d} {label}. Answer from the passages."),
        ChatMessage(role="user", content=f"{_PASSAGE} {_PASSAGE} What does a yield expression do?"),
    )
    query = example.query.model_copy(update={"request_id": f"{label}-{number}", "tenant": TENANT, "deadline_at": None})
    max_tokens = mean_tokens // 2 + number * _SCATTER % (mean_tokens + 1)
    sampling = Sampling(max_tokens=max_tokens, temperature=0)
    return example.model_copy(update={"query": query, "messages": messages, "sampling": sampling, "sources": ()})


def counts(turn: int) -> bool:
    """Whether a client's answer of this turn, from 0, counts to the first token: its first does not, for all begin at
    once.
    """
    return turn > 0
