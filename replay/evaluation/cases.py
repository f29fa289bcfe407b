"""A run's rows, brought together by request."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from replay.evaluation.errors import EvaluationError
from replay.run_folder.reader import Run
from replay.run_folder.rows import AnswerRow, PassageRow, RequestRow, StampRow


@dataclass(frozen=True, slots=True)
class Chunk:
    """A passage's text and where it is from: the same for every request that it was found for."""

    document_id: str
    title: str
    text: str


@dataclass(slots=True)
class Case:
    """A request and what came of it. ``passages`` are chunk IDs, best first; ``answer`` is None until it has ended.

    ``stage_ms`` is how long each stage had it, attempts together; ``total_ms`` is from the first stage's start to the
    last one's end, waits included, of those stages that a replay ran; None where no times are known.
    """

    request: RequestRow
    answer: AnswerRow | None = None
    passages: list[str] = field(default_factory=list)
    stage_ms: dict[str, int] = field(default_factory=dict)
    started_ms: int | None = None
    finished_ms: int | None = None

    @property
    def total_ms(self) -> int | None:
        if self.started_ms is None or self.finished_ms is None:
            return None
        return self.finished_ms - self.started_ms

    @property
    def text(self) -> str:
        """The answer; "" where there is none."""
        return self.answer.text if self.answer else ""

    @property
    def is_answered(self) -> bool:
        return self.answer is not None and self.answer.state == "answered"

    @property
    def sources(self) -> dict[int, str]:
        """Chunk IDs of the sources that were in the prompt, by number."""
        return {source.number: source.chunk_id for source in self.answer.sources} if self.answer else {}


@dataclass(frozen=True, slots=True)
class Cases:
    """The cases of a run by query ID, in the order in which they were recorded; chunks by chunk ID.

    ``repeated`` counts requests and endings that were there before, and do not count. Times of a run that
    ``is_replay`` hold the waits in its own queues.
    """

    name: str
    cases: Mapping[str, Case]
    chunks: Mapping[str, Chunk]
    is_complete: bool
    repeated: int
    stamps: Mapping[str, Mapping[str, int]]
    is_replay: bool = False

    def counts(self, case: Case) -> bool:
        """Whether a case is measured: it has ended, or never will, since the run is complete without it."""
        return case.answer is not None or self.is_complete

    def source_texts(self, case: Case) -> dict[int, str]:
        """The texts that were in the prompt, by number."""
        return {number: self.chunks[chunk].text for number, chunk in case.sources.items() if chunk in self.chunks}

    @property
    def ended(self) -> int:
        """How many requests have ended."""
        return sum(case.answer is not None for case in self.cases.values())


def read_cases(run: Run) -> Cases:
    """Read a run: its texts once each, and a few hundred bytes for each request.

    Raises:
        EvaluationError: the run has no requests.
        RunError: a file of the run is damaged.
    """
    cases: dict[str, Case] = {}
    by_request: dict[str, Case] = {}
    repeated = 0
    for request in run.rows(RequestRow):
        if request.query_id in cases or request.request_id in by_request:
            repeated += 1
            continue
        cases[request.query_id] = by_request[request.request_id] = Case(request)
    if not cases:
        raise EvaluationError(f"the run {run.name} has no requests; is its replay under way?")
    for answer in run.rows(AnswerRow):
        case = by_request.get(answer.request_id)
        if case is not None:
            repeated += case.answer is not None
            case.answer = case.answer or answer
    chunks = _read_passages(run, by_request)
    stamps = _read_stamps(run, by_request)
    return Cases(run.name, cases, chunks, run.manifest.state == "complete", repeated, stamps, bool(run.manifest.stages))


def _read_passages(run: Run, by_request: Mapping[str, Case]) -> dict[str, Chunk]:
    ranked: dict[str, dict[int, str]] = {}
    chunks: dict[str, Chunk] = {}
    # Of the same ID there is one object in memory, however often the passage was found.
    ids: dict[str, str] = {}
    for row in run.rows(PassageRow):
        chunk_id = ids.setdefault(row.chunk_id, row.chunk_id)
        ranked.setdefault(row.request_id, {}).setdefault(row.rank, chunk_id)
        if chunk_id not in chunks:
            chunks[chunk_id] = Chunk(ids.setdefault(row.document_id, row.document_id), row.title, row.text)
    for request_id, ranks in ranked.items():
        if request_id in by_request:
            by_request[request_id].passages = [ranks[rank] for rank in sorted(ranks)]
    return chunks


def _read_stamps(run: Run, by_request: Mapping[str, Case]) -> dict[str, dict[str, int]]:
    """Puts the times into the cases, and gives how often each stamp was seen, by stage."""
    seen: dict[str, dict[str, int]] = {}
    replayed = run.manifest.stages
    for row in run.rows(StampRow):
        case = by_request.get(row.request_id)
        if case is None:
            continue
        if row.stamp:
            counts = seen.setdefault(row.stage, {})
            counts[row.stamp] = counts.get(row.stamp, 0) + 1
        if row.started_ms is None or row.finished_ms is None:
            continue
        case.stage_ms[row.stage] = case.stage_ms.get(row.stage, 0) + max(0, row.finished_ms - row.started_ms)
        if replayed and row.stage not in replayed:
            # The recording's, of another day.
            continue
        case.started_ms = row.started_ms if case.started_ms is None else min(case.started_ms, row.started_ms)
        case.finished_ms = row.finished_ms if case.finished_ms is None else max(case.finished_ms, row.finished_ms)
    return seen
