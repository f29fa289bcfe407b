"""Plan, apply and describe the topics of a cluster."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from topics.cluster import KafkaConnection, PartitionState, Report, connect
from topics.names import Namespace
from topics.plan import Plan, plan
from topics.settings import TopicSettings
from topics.specs import TopicSpec, all_topics

TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Applied:
    """What ``apply_topics`` did, and what still differs afterwards."""

    created: tuple[str, ...]
    changed: tuple[str, ...]
    remaining: Plan


async def plan_topics(
    kafka: KafkaConnection,
    settings: TopicSettings,
    names: Namespace,
    *,
    specs: Sequence[TopicSpec] | None = None,
    report: Report | None = None,
    timeout_s: float = TIMEOUT_S,
) -> Plan:
    """Compare the declared topics with the cluster's; changes nothing.

    ``report`` gets one sentence before each further try at a cluster that does not answer.

    Raises:
        TopicsError: the cluster did not answer within ``timeout_s``, or refused.
    """
    wanted = all_topics() if specs is None else specs
    async with connect(kafka, report, timeout_s) as cluster:
        return plan(wanted, settings, names, await cluster.read(_names(wanted, names)))


async def apply_topics(
    kafka: KafkaConnection,
    settings: TopicSettings,
    names: Namespace,
    *,
    fix: bool = False,
    specs: Sequence[TopicSpec] | None = None,
    report: Report | None = None,
    timeout_s: float = TIMEOUT_S,
) -> Applied:
    """Create what is missing and wait until it can be used; with ``fix`` also change what differs, as far as Kafka can.

    May run in many processes at once, and again: what is there already is left as it is. The caller stops with an error
    when ``remaining`` differs.

    Raises:
        TopicsError: the cluster did not answer within ``timeout_s``, or refused a topic.
    """
    wanted = all_topics() if specs is None else specs
    topics = _names(wanted, names)
    async with connect(kafka, report, timeout_s) as cluster:
        before = plan(wanted, settings, names, await cluster.read(topics))
        created = await cluster.create(before.creates)
        # Another process may have created a topic in between, and not as declared.
        found = plan(wanted, settings, names, await cluster.read(topics, complete=True))
        changed = await cluster.change(found) if fix else ()
        remaining = plan(wanted, settings, names, await cluster.read(topics, complete=True)) if changed else found
    return Applied(created, changed, remaining)


async def describe_topics(
    kafka: KafkaConnection,
    names: Namespace,
    *,
    specs: Sequence[TopicSpec] | None = None,
    report: Report | None = None,
    timeout_s: float = TIMEOUT_S,
) -> list[PartitionState]:
    """Every partition of the declared topics that exist, in the order of declaration.

    Raises:
        TopicsError: the cluster did not answer within ``timeout_s``, or refused.
    """
    wanted = _names(all_topics() if specs is None else specs, names)
    async with connect(kafka, report, timeout_s) as cluster:
        return await cluster.describe(wanted)


async def wait_for_topics(
    kafka: KafkaConnection,
    names: Namespace,
    specs: Sequence[TopicSpec],
    *,
    report: Report | None = None,
    timeout_s: float = TIMEOUT_S,
) -> None:
    """Wait until topics are there and have leaders, whoever creates them.

    Raises:
        TopicsError: that did not happen within ``timeout_s``.
    """
    async with connect(kafka, report, timeout_s) as cluster:
        await cluster.read(_names(specs, names), complete=True)


def _names(specs: Iterable[TopicSpec], names: Namespace) -> list[str]:
    return [names.topic(spec) for spec in specs]
