"""Says from the topics alone what became of every request: lost, done twice, mixed up. Pure.

It shares no code with the runtime: what a record came from is read from its headers, and whether that is right is
decided from the records that are there.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, TypeAlias

from faults.chain import CHAIN, Step, failing_stage
from schemas.events import Answered
from topics.specs import ANSWERS, DEAD_LETTERS_SUFFIX, PROMPTS_BUILT, QUERIES, TopicSpec, dead_letters

Position: TypeAlias = tuple[str, int, int]
Kind: TypeAlias = Literal["lost", "duplicated", "phantom", "mismatched", "wrong_end", "spliced", "unseen"]

_NOBODY: Mapping[str, Sequence[TopicSpec]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Record:
    """A committed record. ``position`` and ``origin`` are topic (without namespace), partition and offset.

    ``origin`` is what it says it came from. ``question`` is None where the event carries none. ``answer`` and its
    ``attempt`` are those of an answered request.
    """

    position: Position
    key: str
    id: str
    type: str
    origin: Position | None
    question: str | None = None
    answer: str | None = None
    attempt: int = 0

    @property
    def topic(self) -> str:
        return self.position[0]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that must not be: at which stage, with which request."""

    kind: Kind
    stage: str
    key: str
    detail: str

    def __str__(self) -> str:
        return f"{self.kind} at {self.stage}: request {self.key}, {self.detail}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the records say. ``behind`` counts records beyond what each stage has committed.

    ``open`` are partitions with a transaction that nobody has ended.
    """

    requests: int
    findings: tuple[Finding, ...]
    behind: Mapping[str, int] = field(default_factory=dict)
    open: tuple[str, ...] = ()

    def count(self, kind: Kind) -> int:
        """How many findings of a kind."""
        return sum(finding.kind == kind for finding in self.findings)

    def keeps(self, *, exactly_once: bool) -> bool:
        """Whether the promise was kept: duplicates are allowed to at_least_once, and nothing else to either."""
        allowed = () if exactly_once else ("duplicated",)
        return all(f.kind in allowed for f in self.findings) and not any(self.behind.values()) and not self.open


def judge(
    records: Iterable[Record],
    committed: Mapping[tuple[str, str, int], int] | None = None,
    open_: Sequence[str] = (),
    watchers: Mapping[str, Sequence[TopicSpec]] = _NOBODY,
) -> Verdict:
    """Judge all records of some requests, from every topic.

    ``committed`` is the offset by stage, topic and partition; without it nothing is said about lag. ``open_`` goes
    into the verdict. ``watchers`` are stages that only read, and what.
    """
    by_topic: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_topic[record.topic].append(record)
    findings: list[Finding] = []
    for step in CHAIN:
        findings += _judge_step(step, by_topic)
    findings += _judge_ends(by_topic)
    behind: dict[str, int] = {}
    if committed is not None:
        readers = {step.stage: (step.source,) for step in CHAIN} | dict(watchers)
        behind = {stage: _behind(stage, topics, by_topic, committed) for stage, topics in readers.items()}
    requests = len({record.key for record in by_topic[QUERIES.name]})
    return Verdict(requests, tuple(findings), behind, tuple(open_))


def _judge_step(step: Step, by_topic: Mapping[str, Sequence[Record]]) -> list[Finding]:
    """Each input has one conclusion, and each conclusion one input that is there and is the same request."""
    findings: list[Finding] = []
    inputs = {record.position: record for record in by_topic.get(step.source.name, ())}
    conclusions: dict[str, list[Record]] = {_identity(step, record): [] for record in inputs.values()}
    for record in _conclusions(step, by_topic):
        assert record.origin is not None  # noqa: S101 - chosen by it
        source = inputs.get(record.origin)
        where = f"{_place(record.position)} says it came from {_place(record.origin)}"
        if source is None:
            findings.append(Finding("phantom", step.stage, record.key, f"{where}, where nothing was committed"))
            continue
        if source.key != record.key or (record.question is not None and record.question != source.question):
            findings.append(Finding("mismatched", step.stage, record.key, f"{where}, which is another request's"))
        conclusions[_identity(step, source)].append(record)
    keys = {_identity(step, record): record.key for record in inputs.values()}
    for identity, found in conclusions.items():
        findings += _judge_conclusions(step, keys[identity], found)
    return findings


def _judge_conclusions(step: Step, key: str, found: Sequence[Record]) -> list[Finding]:
    """One output or one terminal event, and at most one dead letter beside a failure."""
    letters = [record for record in found if record.topic.endswith(DEAD_LETTERS_SUFFIX)]
    ends = [record for record in found if record not in letters]
    if not ends:
        return [Finding("lost", step.stage, key, "dead letter without an end" if letters else "no output, no end")]
    more = [*ends[1:], *letters[1:]]
    if letters and any(_succeeded(step, record) for record in ends):
        more += letters[:1]
    first = _place(ends[0].position)
    return [Finding("duplicated", step.stage, key, f"{_place(r.position)} beside {first}") for r in more]


def _judge_ends(by_topic: Mapping[str, Sequence[Record]]) -> list[Finding]:
    """Each request ended as its question wants, where it ended at all; no end is a dead letter."""
    findings: list[Finding] = []
    questions = {record.key: record.question or "" for record in by_topic.get(QUERIES.name, ())}
    for record in by_topic.get(ANSWERS.name, ()):
        if record.key not in questions:
            findings.append(Finding("phantom", "query", record.key, "was answered and never asked"))
            continue
        failing = failing_stage(questions[record.key])
        if (failing is None) != (record.type == Answered.TYPE):
            findings.append(Finding("wrong_end", failing or "generation", record.key, f"ended as {record.type}"))
        elif failing is None and (record.origin is None or record.origin[0] != PROMPTS_BUILT.name):
            # The prompt stage answers where nothing was found: there is something for every question.
            findings.append(Finding("wrong_end", "retrieval", record.key, "was answered without having been generated"))
    findings += [
        Finding("wrong_end", "projector", letter.key, "could not be shown")
        for letter in by_topic.get(dead_letters(ANSWERS).name, ())
    ]
    return findings


def _conclusions(step: Step, by_topic: Mapping[str, Sequence[Record]]) -> list[Record]:
    """What says it came from the step's input: outputs, terminal events, dead letters."""
    topics = dict.fromkeys((step.target.name, ANSWERS.name, step.source.name + DEAD_LETTERS_SUFFIX))
    return [
        record
        for topic in topics
        for record in by_topic.get(topic, ())
        if record.origin is not None and record.origin[0] == step.source.name
    ]


def _identity(step: Step, record: Record) -> str:
    """What makes two inputs the same work: the key of a question, the event ID of all else."""
    return record.key if step.source is QUERIES else record.id


def _succeeded(step: Step, record: Record) -> bool:
    return record.topic == step.target.name and (step.target is not ANSWERS or record.type == Answered.TYPE)


def _behind(
    stage: str,
    topics: Sequence[TopicSpec],
    by_topic: Mapping[str, Sequence[Record]],
    committed: Mapping[tuple[str, str, int], int],
) -> int:
    """Records at or beyond the committed offset. Counted by records, for a transaction's marker takes an offset too."""
    return sum(
        offset >= committed.get((stage, topic, partition), 0)
        for source in topics
        for topic, partition, offset in (record.position for record in by_topic.get(source.name, ()))
    )


def _place(position: Position) -> str:
    return "/".join(map(str, position))
