"""What a replay will do, decided before anything is made: from what was asked for and what the topic holds."""

import hashlib
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from pydantic import JsonValue

from backends.kafka import KafkaSettings
from replay.errors import ReplayError
from replay.overrides import Override
from replay.recording import Recording
from replay.requests import incoming, request_id
from replay.run_folder.manifest import Manifest, RunSource
from replay.selection import (
    Bounds,
    Selection,
    Span,
    deleted_before_ms,
    last_rank_of,
    parse_offsets,
    spans_of_offsets,
    spans_of_times,
)
from replay.topology import Way, way_from
from topics.cluster import connect
from topics.names import Namespace

_CONNECT_TIMEOUT_S = 30.0
_MAX_NAMESPACE_CHARS = 64


@dataclass(frozen=True, slots=True)
class Asked:
    """Which records of a topic are asked for, and what is changed; times are Unix time in milliseconds.

    ``words`` are the options as they were given: the same ones go on with a run that is not complete.
    """

    topic: str
    since_ms: int | None = None
    until_ms: int | None = None
    offsets: str | None = None
    ids: frozenset[str] | None = None
    sample: int | None = None
    seed: int = 0
    overrides: tuple[Override, ...] = ()
    words: Mapping[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """A replay. ``spans`` are of the source by partition; ``first_ms`` is the time of the earliest record of the topic.

    ``at_most`` bounds the number of requests. ``whole_from_ms`` says from when on the topic is whole, where retention
    has deleted what was before. ``missing`` counts IDs that were asked for and are not in it.
    """

    way: Way
    spans: Mapping[int, Span]
    selection: Selection
    partitions: int
    first_ms: int = 0
    at_most: int = 0
    whole_from_ms: int | None = None
    missing: int = 0

    def source(self, asked: Asked) -> RunSource:
        """For the run's manifest."""
        selection = self.selection
        kept: dict[str, JsonValue] = {
            "words": dict(asked.words),
            "since_ms": selection.since_ms,
            "until_ms": selection.until_ms,
            "seed": selection.seed,
            "last_rank": selection.last_rank,
            "ids": _digest(selection.ids),
            "partitions": self.partitions,
            "first_ms": self.first_ms,
            "at_most": self.at_most,
        }
        offsets = {partition: (span.first, span.end) for partition, span in self.spans.items()}
        return RunSource(topic=self.way.source.name, offsets=offsets, selection=kept)

    @classmethod
    def resumed(cls, manifest: Manifest, asked: Asked) -> Self:
        """The plan of a run that is not complete.

        Raises:
            ReplayError: the run was begun otherwise.
        """
        source = manifest.source
        kept: dict[str, Any] = dict(source.selection) if source else {}
        if source is None or kept.get("words") != asked.words or kept.get("ids") != _digest(asked.ids):
            raise ReplayError(
                f"there is a run {manifest.name} already, begun with other options and not complete; the same options "
                f"go on with it, ragline runs delete {manifest.name} removes it"
            )
        selection = Selection(kept["since_ms"], kept["until_ms"], asked.ids, kept["seed"], kept["last_rank"])
        spans = {partition: Span(*offsets) for partition, offsets in source.offsets.items()}
        return cls(way_from(source.topic), spans, selection, kept["partitions"], kept["first_ms"], kept["at_most"])


def namespace_of(names: Namespace, run: str) -> Namespace:
    """The namespace of a run: beside that of the pipeline whose requests it repeats.

    Raises:
        ReplayError: the name is too long for one.
    """
    prefix = f"{names.prefix}-replay-{run}" if names.prefix else f"replay-{run}"
    if len(prefix) > _MAX_NAMESPACE_CHARS:
        longest = _MAX_NAMESPACE_CHARS - len(prefix) + len(run)
        raise ReplayError(f"the run's name has {len(run)} characters; it may have {longest}")
    return Namespace(prefix)


async def make_plan(kafka: KafkaSettings, names: Namespace, asked: Asked) -> Plan:
    """Look at the topic, up to the last stable offsets of now; nothing is changed.

    Raises:
        ReplayError: no stage reads the topic, it is missing or has nothing of what was asked for, retention has deleted
            some of it, or Kafka does not answer.
        TopicsError: Kafka does not answer.
    """
    way = way_from(asked.topic)
    topic = names.topic(way.source)
    async with Recording(kafka, topic) as recording:
        bounds = await recording.bounds()
        spans = await _spans(kafka, recording, asked, bounds)
        selection = Selection(asked.since_ms, asked.until_ms, asked.ids)
        at_most = sum(map(len, spans.values()))
        missing = 0
        if asked.ids is not None:
            found = {name async for name in _names(recording, spans, selection)}
            missing = len(asked.ids) - len(found)
            at_most = len(found)
            if not found:
                raise ReplayError(f"none of the {len(asked.ids)} request IDs is in the range of {topic} asked for")
        if asked.sample is not None:
            names_there = [name async for name in _names(recording, spans, selection)]
            if not names_there:
                raise ReplayError(f"{topic} has no record in the range that was asked for")
            last = last_rank_of(asked.sample, asked.seed, names_there)
            selection = Selection(asked.since_ms, asked.until_ms, asked.ids, asked.seed, last)
            at_most = min(asked.sample, len(set(names_there)))
    times = [kept.first_ms for kept in bounds.values() if kept.first_ms is not None]
    return Plan(
        way=way,
        spans=spans,
        selection=selection,
        partitions=len(bounds),
        first_ms=min(times, default=0),
        at_most=at_most,
        whole_from_ms=deleted_before_ms(bounds),
        missing=missing,
    )


async def _spans(
    kafka: KafkaSettings, recording: Recording, asked: Asked, bounds: Mapping[int, Bounds]
) -> dict[int, Span]:
    if asked.offsets is not None:
        return spans_of_offsets(recording.topic, parse_offsets(asked.offsets), bounds)
    since = {} if asked.since_ms is None else await recording.find(asked.since_ms)
    until = {} if asked.until_ms is None else await recording.find(asked.until_ms)
    kept_since_ms = await _kept_since_ms(kafka, recording.topic)
    return spans_of_times(recording.topic, bounds, asked.since_ms, since, until, kept_since_ms)


async def _kept_since_ms(kafka: KafkaSettings, topic: str) -> int | None:
    """The time after which retention cannot have deleted anything by age; None where it goes by size, too."""
    async with connect(kafka, None, _CONNECT_TIMEOUT_S) as cluster:
        configs = (await cluster.read([topic]))[topic].configs
    if configs.get("retention.bytes", "-1") != "-1":
        return None
    retention_ms = int(configs.get("retention.ms", "-1"))
    return 0 if retention_ms < 0 else time.time_ns() // 1_000_000 - retention_ms


async def _names(recording: Recording, spans: Mapping[int, Span], selection: Selection) -> AsyncIterator[str]:
    """The request IDs that a selection takes from spans, as often as they come."""
    async for records in recording.read(spans):
        for record in records:
            name = request_id(incoming(record))
            if selection.takes(name, record.timestamp):
                yield name


def _digest(ids: frozenset[str] | None) -> str | None:
    return None if ids is None else hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()
