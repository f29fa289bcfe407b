"""One hop of Faust, at least once, with its defaults but for the acknowledgement of all replicas."""

import sys
from typing import Any

import faust

servers, group, source, target = sys.argv[1:]
app = faust.App(
    group,
    broker=f"aiokafka://{servers}",
    datadir="faust",
    web_enabled=False,
    topic_disable_leader=True,
    topic_allow_declare=False,
    topic_replication_factor=1,
    consumer_auto_offset_reset="earliest",
    producer_acks=-1,
    broker_commit_interval=0.2,
)
inputs = app.topic(source, value_serializer="raw", key_serializer="raw")
outputs = app.topic(target, value_serializer="raw", key_serializer="raw")


@app.agent(inputs)
async def hop(stream: Any) -> None:
    """Echo."""
    async for key, value in stream.items():
        await outputs.send(key=key, value=value)


if __name__ == "__main__":
    faust.Worker(app, loglevel="WARNING").execute_from_commandline()
