"""An answer's text against gold answers, as SQuAD's evaluation script compares them.

Source: Rajpurkar et al., "SQuAD: 100,000+ Questions for Machine Comprehension of Text" (EMNLP 2016), and the script
``evaluate-v2.0.py`` that comes with it: lower case, no ASCII punctuation, no articles, single spaces. Marks such as
[1], which only say where a statement comes from, are taken out before.
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

from replay.evaluation.sentences import without_citations

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def tokens(text: str) -> list[str]:
    """The words that count, in order."""
    lower = without_citations(text).lower().translate(_PUNCTUATION)
    return _ARTICLES.sub(" ", lower).split()


def exact_match(answer: str, gold: Sequence[str]) -> float:
    """1 where the answer says the same as one of ``gold``, which must not be empty; else 0."""
    return _best(answer, gold, lambda said, right: float(said == right))


def token_f1(answer: str, gold: Sequence[str]) -> float:
    """The best F1 of the answer's words with those of one of ``gold``, which must not be empty."""
    return _best(answer, gold, _f1)


def contains(answer: str, gold: Sequence[str]) -> float:
    """1 where the words of one of ``gold``, which must not be empty, stand in the answer in one piece; else 0."""
    return _best(answer, gold, _contains)


def _best(answer: str, gold: Sequence[str], score: Callable[[list[str], list[str]], float]) -> float:
    said = tokens(answer)
    return max(score(said, tokens(right)) for right in gold)


def _f1(said: list[str], right: list[str]) -> float:
    if not said or not right:
        return float(said == right)
    shared = (Counter(said) & Counter(right)).total()
    return 2 * shared / (len(said) + len(right))


def _contains(said: list[str], right: list[str]) -> float:
    if not right:
        return float(not said)
    width = len(right)
    return float(any(said[at : at + width] == right for at in range(len(said) - width + 1)))
