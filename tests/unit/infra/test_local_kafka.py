from pathlib import Path

from infra.local.kafka import KafkaNode, kafka_process, properties, single_node
from topics.specs import all_topics


def test_a_single_node() -> None:
    made = properties(single_node(Path("/data"), "127.0.0.1", 9092, 9093))
    assert made["controller.quorum.voters"] == "1@127.0.0.1:9093"
    assert made["listeners"] == "PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093"
    assert made["auto.create.topics.enable"] == "false"
    assert made["transaction.state.log.min.isr"] == "1"
    assert made["min.insync.replicas"] == "1"
    assert int(made["message.max.bytes"]) > max(spec.max_message_bytes for spec in all_topics())


def test_one_node_of_three() -> None:
    node = KafkaNode(
        node_id=2,
        folder=Path("/data/2"),
        host="127.0.0.1",
        port=9192,
        controller_port=9193,
        voters={number: f"127.0.0.1:9{number}" for number in (3, 1, 2)},
        replication=3,
        overrides={"group.min.session.timeout.ms": "1000"},
    )
    made = properties(node)
    assert made["node.id"] == "2"
    assert made["controller.quorum.voters"] == "1@127.0.0.1:91,2@127.0.0.1:92,3@127.0.0.1:93"
    assert made["transaction.state.log.min.isr"] == "2"
    assert made["min.insync.replicas"] == "2"
    assert made["group.min.session.timeout.ms"] == "1000"
    assert kafka_process(node, Path("/jars")).name == "kafka-2"
