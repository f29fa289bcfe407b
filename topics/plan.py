"""What must change on a cluster so that its topics are as declared. Pure: no cluster is asked here."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from topics.names import Namespace
from topics.settings import TopicSettings
from topics.specs import TopicSpec

PARTITIONS = "partitions"
REPLICATION = "replication.factor"

_SHRINK = "Kafka cannot remove partitions: set topics.partitions to what is there, or make the topic anew"
_GROW = (
    "with more partitions a key moves to another one, and its records are no longer in order across the change: "
    "let the topic run empty, then apply with consent"
)
_REPLICATION = "reassign the replicas with kafka-reassign-partitions.sh, or change topics.replication_factor"
_CONFIG = "apply with consent to set it as declared"


@dataclass(frozen=True, slots=True)
class ActualTopic:
    """A topic as the cluster has it.

    ``configs`` are the values in effect; ``overrides`` those of them that are set on the topic itself.
    """

    partitions: int
    replication_factor: int
    configs: Mapping[str, str]
    overrides: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Create:
    """A topic that is missing."""

    topic: str
    partitions: int
    replication_factor: int
    configs: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class GrowPartitions:
    """A topic that has fewer partitions than declared; needs consent, for it changes which partition a key is in."""

    topic: str
    wanted: int
    actual: int
    advice: str = _GROW


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A setting that differs from what is declared. Consent makes ``apply`` set it, where ``fixable``."""

    topic: str
    setting: str
    wanted: str
    actual: str
    advice: str
    fixable: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """All that differs. ``unchanged`` are the topics that are as declared."""

    creates: tuple[Create, ...] = ()
    grows: tuple[GrowPartitions, ...] = ()
    mismatches: tuple[Mismatch, ...] = ()
    unchanged: tuple[str, ...] = ()

    @property
    def in_order(self) -> bool:
        """Whether every topic is as declared."""
        return not (self.creates or self.grows or self.mismatches)

    @property
    def differs(self) -> bool:
        """Whether a topic that exists is not as declared: what ``apply`` leaves alone without consent."""
        return bool(self.grows or self.mismatches)


def wanted_configs(spec: TopicSpec) -> dict[str, str]:
    """The topic configs that a spec decides, by Kafka's names."""
    return {
        "cleanup.policy": spec.cleanup_policy,
        "max.message.bytes": str(spec.max_message_bytes),
        "retention.ms": str(spec.retention_ms),
    }


def plan(
    specs: Iterable[TopicSpec], settings: TopicSettings, names: Namespace, actual: Mapping[str, ActualTopic]
) -> Plan:
    """Compare what is declared with what is there. ``actual`` is by the topic's name on the cluster."""
    creates: list[Create] = []
    grows: list[GrowPartitions] = []
    mismatches: list[Mismatch] = []
    unchanged: list[str] = []
    for spec in specs:
        topic = names.topic(spec)
        partitions = spec.partitions or settings.partitions
        there = actual.get(topic)
        if there is None:
            creates.append(Create(topic, partitions, settings.replication_factor, wanted_configs(spec)))
            continue
        found = _mismatches(topic, spec, partitions, settings.replication_factor, there)
        mismatches += found
        if there.partitions < partitions:
            grows.append(GrowPartitions(topic, partitions, there.partitions))
        elif not found:
            unchanged.append(topic)
    return Plan(tuple(creates), tuple(grows), tuple(mismatches), tuple(unchanged))


def _mismatches(
    topic: str, spec: TopicSpec, partitions: int, replication_factor: int, there: ActualTopic
) -> list[Mismatch]:
    found: list[Mismatch] = []
    if there.partitions > partitions:
        found.append(Mismatch(topic, PARTITIONS, str(partitions), str(there.partitions), _SHRINK, fixable=False))
    if there.replication_factor != replication_factor:
        found.append(
            Mismatch(
                topic, REPLICATION, str(replication_factor), str(there.replication_factor), _REPLICATION, fixable=False
            )
        )
    for setting, wanted in wanted_configs(spec).items():
        value = there.configs.get(setting, "")
        if _parts(value) != _parts(wanted):
            found.append(Mismatch(topic, setting, wanted, value, _CONFIG, fixable=True))
    return found


def _parts(value: str) -> frozenset[str]:
    return frozenset(part.strip() for part in value.split(","))
