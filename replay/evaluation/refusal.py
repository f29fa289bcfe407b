"""Whether an answer refuses: says that it does not know, or that nothing was found."""

import re

from replay.evaluation.answer_text import tokens
from replay.evaluation.errors import EvaluationError
from replay.evaluation.sentences import sentences

_NEGATED = r"(?:do|does|did|is|are|am|was|were|can|could)(?: ?not|n['\u2019]t|['\u2019]t)|unable to"
_SAID = (
    r"know|say|tell|answer|find|found|hold|contain|provided?|mention(?:ed)?|specif(?:y|ied)|stated?|included?|given"
    r"|available|determined?|sure"
)
# The words of the prompt that comes along, and how models usually put it.
DEFAULT_PATTERN = (
    rf"\b(?:{_NEGATED})\s+(?:\w+\s+){{0,3}}?(?:{_SAID})\b"
    r"|\b(?:no|not enough|insufficient) (?:\w+ ){0,2}(?:information|answer|mention|passage|evidence)\b"
    r"|\bunanswerable\b|\bnothing was found\b"
)


def refusal_pattern(expression: str = DEFAULT_PATTERN) -> re.Pattern[str]:
    """Compile what refusals look like.

    Raises:
        EvaluationError: it is no regular expression.
    """
    try:
        return re.compile(expression, re.IGNORECASE)
    except re.error as error:
        raise EvaluationError(f"{expression!r} is no regular expression: {error}") from None


def refuses(answer: str, finish_reason: str | None, pattern: re.Pattern[str]) -> bool:
    """Whether nothing was found, nothing was said, or the pattern is found in the first sentence."""
    if finish_reason == "nothing_found" or not tokens(answer):
        return True
    first = sentences(answer)
    return bool(first) and pattern.search(first[0].text) is not None
