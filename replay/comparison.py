"""Whether a replay said the same as the recording: bodies byte for byte, answers by their text."""

import hashlib
from collections.abc import Iterator, Sequence
from functools import partial

from aiokafka.structs import ConsumerRecord
from pydantic import BaseModel, ConfigDict

from backends.kafka import KafkaSettings
from replay.recording import Recording
from replay.requests import incoming, request_id
from replay.topology import Way
from replay.tracker import name_of
from schemas import codec
from schemas.events import Answered
from schemas.headers import Headers
from topics.names import Namespace
from topics.specs import ANSWERS, TopicSpec

_HASH_BYTES = 8


class Agreement(BaseModel):
    """Of one topic: requests whose body was the same, another one, or in the replay alone (``unmatched``)."""

    model_config = ConfigDict(frozen=True)

    same: int = 0
    different: int = 0
    unmatched: int = 0


async def compare(
    kafka: KafkaSettings, recorded: Namespace, replayed: Namespace, way: Way, since_ms: int
) -> dict[str, Agreement]:
    """What stages wrote in a replay, against what they had written at or after ``since_ms``, by topic.

    Of a request that is there more than once, whichever of them is the same counts. One topic at a time is in memory,
    with a few numbers for each request.

    Raises:
        ReplayError: Kafka does not answer, or a topic is missing.
    """
    return {spec.name: await _compare(kafka, recorded, replayed, spec, since_ms) for spec in way.outputs}


async def _compare(
    kafka: KafkaSettings, recorded: Namespace, replayed: Namespace, spec: TopicSpec, since_ms: int
) -> Agreement:
    hashes: dict[int, int] = {}
    async with Recording(kafka, replayed.topic(spec)) as recording:
        async for some in recording.read_with(partial(_hashes, spec), await recording.whole()):
            hashes.update(some)
    total, same = len(hashes), 0
    different: set[int] = set()
    async with Recording(kafka, recorded.topic(spec)) as recording:
        async for some in recording.read_with(partial(_hashes, spec), await recording.since(since_ms)):
            for name, number in some:
                if name not in hashes:
                    continue
                if hashes[name] == number:
                    same += 1
                    del hashes[name]
                    different.discard(name)
                else:
                    different.add(name)
    return Agreement(same=same, different=len(different), unmatched=total - same - len(different))


def _hashes(spec: TopicSpec, records: Sequence[ConsumerRecord]) -> list[tuple[int, int]]:
    """A number for each request and one for what was said of it."""
    return [(name_of(request_id(incoming(record))), _number(_said(spec, record))) for record in records]


def _said(spec: TopicSpec, record: ConsumerRecord) -> bytes:
    value: bytes = record.value or b""
    if spec is not ANSWERS or Headers.decode(record.headers).type != Answered.TYPE:
        return value
    try:
        answered = codec.decode(value, Answered.TYPE, (Answered,))
    except codec.UndecodableError:
        return value
    # Attempts and tokens read may differ where the text is the same.
    return answered.answer.encode("utf-8", "replace")


def _number(said: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(said, digest_size=_HASH_BYTES).digest())


def sentences(agreements: dict[str, Agreement]) -> Iterator[str]:
    """One line a topic, for people."""
    for topic, agreement in agreements.items():
        what = "answers" if topic == ANSWERS.name else topic
        alone = f", {agreement.unmatched} without one recorded" if agreement.unmatched else ""
        yield f"{what}: {agreement.same} the same, {agreement.different} different{alone}"
