"""Whether an answer refuses: says that it does not know, or that nothing was found."""

import re

from replay.evaluation.answer_text import tokens
from replay.evaluation.errors import EvaluationError
from replay.evaluation.sentences import sentences

# The words of the prompt that comes along, and how models usually put it.
DEFAULT_PATTERN = (
    r"\b(?:do(?:es)? not|don['’]?t|doesn['’]?t|did not|didn['’]?t|can(?: ?not|['’]?t)|could not|couldn['’]?t|(?:is|are|am|was|were) "
    r"(?:not|unable)|isn['’]?t|aren['’]?t|unable to)\s+(?:\w+\s+){0,3}?(?:know|say|tell|answer|find|found|hold|contain|provide"
    r"|provided|mention|mentioned|specify|specified|state|stated|include|included|given|available|determine|sure)\b"
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
    """Whether nothing was found, nothing was said, or the first sentence is such that the pattern finds itself in it."""
    if finish_reason == "nothing_found" or not tokens(answer):
        return True
    first = sentences(answer)
    return bool(first) and pattern.search(first[0].text) is not None
