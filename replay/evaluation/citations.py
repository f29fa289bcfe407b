"""How well citations fit: precision and recall as in ALCE, with a support of ours in its entailment's place.

Source: Gao et al., "Enabling Large Language Models to Generate Text with Citations" (EMNLP 2023), section 3.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from replay.evaluation.sentences import Sentence
from replay.evaluation.support import Support


class CitationScores(NamedTuple):
    """Of one answer, each in [0, 1]; None where there is nothing to measure: no sentence, or no citation.

    ``recall``: the share of sentences that what they cite supports. ``precision``: the share of citations that a
    supported sentence needs, or that support it alone. ``unsupported``: the share of sentences that no source of the
    prompt supports, cited or not.
    """

    precision: float | None
    recall: float | None
    unsupported: float | None


def citation_scores(found: Sequence[Sentence], sources: Mapping[int, str], support: Support) -> CitationScores:
    """Measure the sentences of an answer; ``sources`` has the prompt's texts by number.

    A citation of a number that no source has supports nothing.
    """
    if not found:
        return CitationScores(None, None, None)
    cited = supported = precise = unsupported = 0
    everything = list(sources.values())
    for sentence in found:
        texts = [sources.get(number) for number in sentence.cited]
        there = [text for text in texts if text is not None]
        holds = support.holds(sentence.text, there)
        supported += holds
        cited += len(texts)
        if holds:
            precise += sum(_needed(sentence.text, at, texts, support) for at in range(len(texts)))
        unsupported += not support.holds(sentence.text, everything)
    precision = precise / cited if cited else None
    return CitationScores(precision, supported / len(found), unsupported / len(found))


def _needed(sentence: str, at: int, texts: Sequence[str | None], support: Support) -> bool:
    """Whether a citation of a supported sentence supports it alone, or the others do not without it."""
    text = texts[at]
    if text is None:
        return False
    if support.holds(sentence, [text]):
        return True
    others = [other for other in (*texts[:at], *texts[at + 1 :]) if other is not None]
    return not support.holds(sentence, others)


def relevant_citations(
    cited: AbstractSet[str], relevant: AbstractSet[str], shown: AbstractSet[str]
) -> tuple[float | None, float | None]:
    """Precision and recall of the documents an answer cites, against qrels; None where there is nothing to measure.

    Recall counts over the relevant documents that were ``shown`` in the prompt: no other could be cited.
    """
    hit = len(cited & relevant)
    citable = len(relevant & shown)
    return (hit / len(cited) if cited else None, hit / citable if citable else None)
