"""How to reach Kafka, how to read a topic in no group, and how to leave."""

import asyncio
from collections.abc import Mapping
from typing import Any, Literal

from aiokafka import AIOKafkaConsumer, TopicPartition
from pydantic import BaseModel, ConfigDict, Field, SecretStr

_CANCEL_AGAIN_S = 0.1


class KafkaSettings(BaseModel):
    """Connection to a Kafka cluster; passed to every aiokafka client."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bootstrap_servers: str = Field(
        "", description="Brokers, host:port, comma-separated; empty takes the local stack's."
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="How to connect."
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "PLAIN", description="How to authenticate when the protocol is SASL."
    )
    sasl_username: str | None = Field(None, description="User for SASL.")
    sasl_password: SecretStr | None = Field(None, description="Password for SASL.")
    ssl_ca_file: str | None = Field(None, description="File of the certificate authority; the system's if unset.")

    def client_options(self) -> dict[str, Any]:
        """Keyword arguments common to aiokafka's consumer, producer and admin client."""
        options: dict[str, Any] = {
            "bootstrap_servers": self.bootstrap_servers,
            "security_protocol": self.security_protocol,
        }
        if self.security_protocol.startswith("SASL"):
            options["sasl_mechanism"] = self.sasl_mechanism
            options["sasl_plain_username"] = self.sasl_username
            options["sasl_plain_password"] = self.sasl_password.get_secret_value() if self.sasl_password else None
        if self.security_protocol.endswith("SSL"):
            from aiokafka.helpers import create_ssl_context  # noqa: PLC0415 - only where TLS is used

            options["ssl_context"] = create_ssl_context(cafile=self.ssl_ca_file)
        return options


def committed_reader(kafka: KafkaSettings) -> AIOKafkaConsumer:
    """A consumer of no group, not started, that reads what is committed, from the beginning of what it is given."""
    return AIOKafkaConsumer(
        **kafka.client_options(),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )


async def partitions_of(consumer: AIOKafkaConsumer, topic: str) -> list[TopicPartition]:
    """The partitions that a topic has now; none if it is missing.

    Raises:
        KafkaError: Kafka does not answer.
    """
    # Else only topics of a subscription are known.
    await consumer._client.force_metadata_update()  # noqa: SLF001 - nothing public asks for others
    return [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]


async def has_reached(consumer: AIOKafkaConsumer, ends: Mapping[TopicPartition, int]) -> bool:
    """Whether everything before these offsets has been read."""
    for partition, end in ends.items():
        if await consumer.position(partition) < end:
            return False
    return True


async def stop_consumer(consumer: AIOKafkaConsumer) -> None:
    """Stop a consumer, started or not, also one that has lost or changed its partitions just now.

    aiokafka (0.14) waits for ever then: its fetcher takes being cancelled for the end of a fetch that it has cancelled
    itself, and goes on.
    """
    fetcher = consumer._fetcher  # noqa: SLF001 - nothing public ends it
    if fetcher is not None:
        while not fetcher._fetch_task.done():  # noqa: SLF001
            fetcher._fetch_task.cancel()  # noqa: SLF001
            await asyncio.wait({fetcher._fetch_task}, timeout=_CANCEL_AGAIN_S)  # noqa: SLF001
    await consumer.stop()
