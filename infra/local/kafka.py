"""A real Kafka broker (KRaft, controller and broker in one process): jars, storage, command line."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from infra.local.folders import whole_folder
from infra.local.java import find_java
from infra.local.probes import kafka_answers
from infra.local.process import ProcessSpec
from infra.local.report import Report
from infra.local.step import run_step
from topics.specs import MIB, all_topics

KAFKA_VERSION = "4.3.1"
LOG4J_VERSION = "2.25.4"
# "!" keeps the last one's version tables from deciding about the first one's dependencies.
_COORDINATES = (
    f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}!",
    f"org.apache.kafka:kafka-tools:{KAFKA_VERSION}!",
    f"org.apache.logging.log4j:log4j-slf4j-impl:{LOG4J_VERSION}!",
)

# Any 16 bytes, in base64url.
_CLUSTER_ID = "cmFnbGluZS1sb2NhbC0wMQ"
_JVM_OPTIONS = ("-Xms128m", "-Xmx512m", "-XX:+UseSerialGC")
_LOG4J = """\
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{HH:mm:ss} %-5level %msg (%c{1})%n%throwable
# A page of settings at every start.
logger.config.name = org.apache.kafka.common.config
logger.config.level = WARN
rootLogger.level = INFO
rootLogger.appenderRef.console.ref = console
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaNode:
    """One node of a cluster. ``voters`` are all its nodes' controllers by node ID, this one's too, as host:port.

    ``folder`` is the node's own. ``replication`` is the number of copies of Kafka's internal topics; one of them may be
    away. ``overrides`` are properties that differ from ``properties``.
    """

    node_id: int
    folder: Path
    host: str
    port: int
    controller_port: int
    voters: Mapping[int, str]
    replication: int
    overrides: Mapping[str, str] = field(default_factory=dict)


def single_node(folder: Path, host: str, port: int, controller_port: int) -> KafkaNode:
    """The node of a cluster of one."""
    return KafkaNode(
        node_id=1,
        folder=folder,
        host=host,
        port=port,
        controller_port=controller_port,
        voters={1: f"{host}:{controller_port}"},
        replication=1,
    )


def jars_path(data_dir: Path) -> Path:
    """Folder of Kafka's jars; it exists after ``prepare_jars``."""
    return data_dir.absolute() / "jars" / f"kafka-{KAFKA_VERSION}"


def prepare_jars(data_dir: Path, report: Report) -> None:
    """Download Kafka's jars (60 MB) to where ``jars_path`` says; does nothing if they are there.

    Raises:
        LocalStackError: the download failed.
    """
    with whole_folder(jars_path(data_dir), report) as partial:
        if partial:
            run_step(
                [sys.executable, "-m", "infra.local.fetch_jars", str(partial), *_COORDINATES],
                title=f"downloading Kafka {KAFKA_VERSION}, 60 MB",
                report=report,
            )


def prepare_node(node: KafkaNode, jars: Path, report: Report) -> None:
    """Write the node's configuration and format its storage, once.

    Raises:
        LocalStackError: there is no Java, or the storage cannot be formatted.
    """
    node.folder.mkdir(parents=True, exist_ok=True)
    _properties_file(node).write_text("".join(f"{key}={value}\n" for key, value in properties(node).items()))
    _log4j_file(node).write_text(_LOG4J)
    with whole_folder(node.folder / "formatted", report) as first_time:
        if first_time:
            run_step(
                [
                    *_java(node, jars),
                    *("kafka.tools.StorageTool", "format", "--cluster-id", _CLUSTER_ID, "--ignore-formatted"),
                    *("--config", str(_properties_file(node))),
                ],
                title="formatting Kafka's storage",
                report=report,
            )


def kafka_process(node: KafkaNode, jars: Path) -> ProcessSpec:
    """The node, as a process; ``prepare_node`` comes first."""
    return ProcessSpec(
        name="kafka" if len(node.voters) == 1 else f"kafka-{node.node_id}",
        stage="kafka",
        argv=(*_java(node, jars), "kafka.Kafka", str(_properties_file(node))),
        ready=kafka_answers(node.host, node.port),
        stop_grace_s=20.0,
        view="errors",
    )


def properties(node: KafkaNode) -> dict[str, str]:
    """The node's ``server.properties``."""
    largest = max(spec.max_message_bytes for spec in all_topics()) + MIB
    return {
        "process.roles": "broker,controller",
        "node.id": str(node.node_id),
        "controller.quorum.voters": ",".join(f"{key}@{address}" for key, address in sorted(node.voters.items())),
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://{node.host}:{node.port},CONTROLLER://{node.host}:{node.controller_port}",
        "advertised.listeners": f"PLAINTEXT://{node.host}:{node.port}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "PLAINTEXT",
        "log.dirs": str((node.folder / "data").absolute()),
        "auto.create.topics.enable": "false",
        "message.max.bytes": str(largest),
        "replica.fetch.max.bytes": str(largest),
        "socket.request.max.bytes": str(4 * largest),
        "offsets.topic.replication.factor": str(node.replication),
        "transaction.state.log.replication.factor": str(node.replication),
        "transaction.state.log.min.isr": str(max(1, node.replication - 1)),
        "min.insync.replicas": str(max(1, node.replication - 1)),
        # Few partitions: each costs files and start-up time, and there are a dozen groups.
        "offsets.topic.num.partitions": "8",
        "transaction.state.log.num.partitions": "8",
        "group.initial.rebalance.delay.ms": "0",
        "log.cleaner.dedupe.buffer.size": str(16 * MIB),
        **node.overrides,
    }


def _java(node: KafkaNode, jars: Path) -> tuple[str, ...]:
    return (
        str(find_java()),
        *_JVM_OPTIONS,
        f"-Dlog4j2.configurationFile={_log4j_file(node).absolute()}",
        *("-cp", f"{jars}/*"),
    )


def _properties_file(node: KafkaNode) -> Path:
    return node.folder / "server.properties"


def _log4j_file(node: KafkaNode) -> Path:
    return node.folder / "log4j2.properties"
