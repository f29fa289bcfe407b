"""What is measured: names, what they mean, and which way is better."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Better = Literal["higher", "lower", "neither"]
Needs = Literal["", "qrels", "answers", "judge"]
Unit = Literal["", "ms", "tokens"]

# Stages of a request today; a run may know others.
STAGES = ("query", "embedding", "retrieval", "prompt", "generation")
_QUANTILE = re.compile(r"(?P<base>\w+_ms)_p(?P<percent>50|95)")
_STAGE_MS = re.compile(r"(?P<stage>\w+)_ms")


@dataclass(frozen=True, slots=True)
class Measure:
    """A measure. Its value for a run is the mean over the requests that have one, or with ``percent`` a percentile.

    ``needs`` names what must be given for it: ``qrels``, ``answers`` or ``judge``.
    """

    name: str
    label: str
    better: Better
    needs: Needs = ""
    unit: Unit = ""
    percent: int | None = None
    base: str = ""

    @property
    def values_of(self) -> str:
        """The name of the values by request that it sums up."""
        return self.base or self.name


FIXED: tuple[Measure, ...] = (
    Measure("ndcg10", "nDCG@10", "higher", "qrels"),
    Measure("recall5", "R@5", "higher", "qrels"),
    Measure("recall10", "R@10", "higher", "qrels"),
    Measure("recall100", "R@100", "higher", "qrels"),
    Measure("rr", "RR", "higher", "qrels"),
    Measure("ap", "AP", "higher", "qrels"),
    Measure("exact_match", "Exact match", "higher", "answers"),
    Measure("f1", "Token F1", "higher", "answers"),
    Measure("contains", "Gold span contained", "higher", "answers"),
    Measure("refused_unanswerable", "Unanswerable, refused", "higher", "answers"),
    Measure("refused_answerable", "Answerable, refused", "lower", "answers"),
    Measure("judge", "Judged by the model", "higher", "judge"),
    Measure("citation_precision", "Citation precision", "higher"),
    Measure("citation_recall", "Citation recall", "higher"),
    Measure("unsupported", "Unsupported sentences", "lower"),
    Measure("relevant_citation_precision", "Cited documents that are relevant", "higher", "qrels"),
    Measure("relevant_citation_recall", "Relevant documents that are cited", "higher", "qrels"),
    Measure("answered", "Requests answered", "higher"),
    Measure("refused", "Answers that refuse", "neither"),
    Measure("prompt_tokens", "Prompt tokens", "lower", unit="tokens"),
    Measure("completion_tokens", "Completion tokens", "lower", unit="tokens"),
)


def time_measures(stages: Iterable[str]) -> tuple[Measure, ...]:
    """Mean, p50 and p95 of the time of each stage, and of the whole."""
    found = []
    for stage in ("total", *stages):
        name = f"{stage.replace('-', '_')}_ms"
        label = "Whole request" if stage == "total" else f"Stage {stage}"
        found.append(Measure(name, label, "lower", unit="ms"))
        found += [
            Measure(f"{name}_p{percent}", f"{label}, p{percent}", "lower", unit="ms", percent=percent, base=name)
            for percent in (50, 95)
        ]
    return tuple(found)


def could_be_measured(name: str) -> bool:
    """Whether a run could have such a measure: all but the names of stages is known beforehand."""
    quantile = _QUANTILE.fullmatch(name)
    base = quantile["base"] if quantile else name
    return any(measure.name == name for measure in FIXED) or _STAGE_MS.fullmatch(base) is not None
