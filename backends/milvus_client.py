"""How a client of Milvus is made."""

import logging

from pymilvus import MilvusClient

from backends.milvus_settings import MilvusSettings

_CHANNEL = {
    # gRPC's own backoff grows to two minutes, through which a Milvus that is back would still count as away.
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 1_000,
    # A server that is pinged every ten seconds without calls hangs up on the client (too_many_pings).
    "grpc.keepalive_permit_without_calls": 0,
}


def connect(settings: MilvusSettings) -> MilvusClient:
    """A client with its own connection; it raises what pymilvus and gRPC raise."""
    # It logs a traceback for every error that it raises.
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
    return MilvusClient(
        uri=settings.uri,
        token=settings.token.get_secret_value() if settings.token else "",
        timeout=settings.timeout_ms / 1000,
        dedicated=True,
        grpc_options=_CHANNEL,
    )
