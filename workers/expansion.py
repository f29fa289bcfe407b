"""What the engine is asked before a search, and what of its answers is worth searching for: pure functions.

``multi_query``: the question in other words. ``hyde``: passages that might answer it (Gao, Ma, Lin and Callan 2023).
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from schemas.events import ExpansionPromptBuilt, QueryAccepted
from schemas.values import ChatMessage, RetrievalOptions, Sampling

_INSTRUCTIONS = {
    "multi_query": "Write {variants} other ways to ask the question below, with other words for the same things. "
    "Write one per line, and nothing else.",
    "hyde": "Write a passage of a reference work that answers the question below, in two or three sentences, and "
    "nothing else.",
}
# Passages after the first, which is the likeliest, are to differ from it and from each other.
_TEMPERATURE = 0.7
_MAX_VARIANT_CHARS = 400
_MAX_PASSAGE_CHARS = 4_000
_MIN_PASSAGE_CHARS = 20
# A model that goes round in circles says few words often.
_MANY_WORDS = 12
_LEAST_VARIETY = 1 / 3
_LIST_MARK = re.compile(r"^(?:[-*•–>]|\(?\d{1,2}[.):]|[A-Za-z][.)])\s+")  # noqa: RUF001 - as models write them
_AROUND = " \t\"'*`_“”„«»"


class Written(NamedTuple):
    """What the engine wrote for one sampling; ``cut`` says that it would have written more."""

    text: str
    cut: bool


def needs_expansion(options: RetrievalOptions) -> bool:
    """Whether the engine is to be asked before the search. A search by words alone has no use for HyDE's vectors."""
    return options.expansion != "none" and (options.expansion, options.mode) != ("hyde", "sparse")


def expansion_prompt(query: QueryAccepted, question: str, max_tokens: int) -> ExpansionPromptBuilt:
    """What the engine is asked for a query that needs it. ``question`` is the query's as the model may read it;
    ``max_tokens`` bounds each text.
    """
    options = query.options.retrieval
    instruction = _INSTRUCTIONS[options.expansion].format(variants=options.variants)
    texts = 1 if options.expansion == "multi_query" else options.variants
    likeliest = Sampling(max_tokens=max_tokens)
    others = (Sampling(max_tokens=max_tokens, temperature=_TEMPERATURE, seed=seed) for seed in range(1, texts))
    return ExpansionPromptBuilt(
        query=query,
        messages=(ChatMessage(role="user", content=f"{instruction}\n\nQuestion: {question}"),),
        samplings=(likeliest, *others),
    )


def usable_texts(event: ExpansionPromptBuilt, answers: Sequence[Written]) -> tuple[str, ...]:
    """What is worth searching for of what the engine wrote: at most as many texts as are wanted, none of them twice.

    Dropped are repetitions of the prompt, introductions, what goes round in circles, and what is no text.
    """
    options = event.query.options.retrieval
    found = _variants(answers) if options.expansion == "multi_query" else _passages(answers)
    asked = [event.query.question, *(line for message in event.messages for line in message.content.splitlines())]
    known = {_folded(text) for text in (*asked, *(message.content for message in event.messages))}
    texts: list[str] = []
    for text in found:
        folded = _folded(text)
        if folded not in known and _is_text(text) and not _is_circular(folded):
            known.add(folded)
            texts.append(text)
    return tuple(texts[: options.variants])


def _variants(answers: Sequence[Written]) -> Iterator[str]:
    for text, cut in answers:
        lines = text.splitlines()
        for line in lines[:-1] if cut else lines:
            variant = _LIST_MARK.sub("", line.strip(_AROUND)).strip(_AROUND)
            if len(variant) <= _MAX_VARIANT_CHARS and not variant.endswith(":"):
                yield variant


def _passages(answers: Sequence[Written]) -> Iterator[str]:
    for text, _ in answers:
        passage = " ".join(text[:_MAX_PASSAGE_CHARS].split())
        if len(passage) >= _MIN_PASSAGE_CHARS:
            yield passage


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def _is_text(text: str) -> bool:
    return any(character.isalpha() for character in text) and all(
        character.isprintable() and character != "\ufffd" for character in text
    )


def _is_circular(folded: str) -> bool:
    words = folded.split()
    return len(words) >= _MANY_WORDS and len(set(words)) < _LEAST_VARIETY * len(words)
