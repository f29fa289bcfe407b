"""One hop of Quix Streams, at least once, with its defaults: outputs are flushed before each commit."""

import sys

from quixstreams import Application

servers, group, source, target = sys.argv[1:]


if __name__ == "__main__":
    app = Application(
        broker_address=servers,
        consumer_group=group,
        auto_offset_reset="earliest",
        processing_guarantee="at-least-once",
        commit_interval=0.2,
        producer_extra_config={"acks": "all", "enable.idempotence": True},
        loglevel="WARNING",
    )
    inputs = app.topic(source, value_deserializer="bytes", key_deserializer="bytes")
    outputs = app.topic(target, value_serializer="bytes", key_serializer="bytes")
    app.dataframe(inputs).to_topic(outputs)
    app.run()
