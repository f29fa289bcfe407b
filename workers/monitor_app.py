"""The monitor's Faust app: reads the stage topics and hands each record to a function."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import faust

from backends.kafka import KafkaSettings
from schemas.headers import Headers, Origin
from topics.names import Namespace
from topics.specs import TopicSpec
from workers.runtime.records import Incoming
from workers.timelines import WATCHED


def build_app(
    kafka: KafkaSettings, names: Namespace, data_dir: Path, take: Callable[[Incoming, TopicSpec], None]
) -> faust.App:
    """Make the app; ``take`` is called once for each record as it comes, on the event loop, and must not raise.

    Faust keeps nothing: no tables, no topics of its own. ``data_dir`` is the folder it insists on.
    """
    app = faust.App(
        names.group("monitor"),
        broker=[f"kafka://{server.strip()}" for server in kafka.bootstrap_servers.split(",")],
        broker_credentials=_credentials(kafka),
        store="memory://",
        datadir=data_dir,
        autodiscover=False,
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        # Without tables there is nothing to stand by for, and Faust then takes Kafka's round robin for assignments.
        table_standby_replicas=0,
        consumer_auto_offset_reset="earliest",
    )
    specs = {names.topic(spec): spec for spec in WATCHED}
    records = app.topic(*specs, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")

    async def watch(stream: Any) -> None:
        async for event in stream.events():
            take(_incoming(event.message), specs[event.message.topic])

    app.agent(records, name="watch")(watch)
    return app


def _incoming(message: Any) -> Incoming:
    headers = message.headers or ()
    return Incoming(
        origin=Origin(message.topic, message.partition, message.offset),
        key=message.key,
        value=message.value,
        headers=Headers.decode(tuple(headers.items() if isinstance(headers, dict) else headers)),
        timestamp=datetime.fromtimestamp(message.timestamp, UTC),
        fetched_ms=int(datetime.now(UTC).timestamp() * 1000),
    )


def _credentials(kafka: KafkaSettings) -> Any:
    options = kafka.client_options()
    context = options.get("ssl_context")
    if kafka.security_protocol.startswith("SASL"):
        return faust.SASLCredentials(
            mechanism=kafka.sasl_mechanism,
            username=options["sasl_plain_username"],
            password=options["sasl_plain_password"],
            ssl_context=context,
        )
    return faust.SSLCredentials(context) if context is not None else None
