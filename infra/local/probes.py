"""Readiness: does a server answer in its own protocol? Written small, so that a probe costs and logs nothing."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from infra.local.process import Probe

_TIMEOUT_S = 2.0

# Kafka protocol, Metadata request and response version 1: https://kafka.apache.org/protocol#The_Messages_Metadata
_METADATA_API_KEY = 3
_METADATA_VERSION = 1
_NO_TOPICS = 0


def kafka_answers(host: str, port: int) -> Probe:
    """The broker answers and knows of at least one broker that takes requests, which may be itself."""
    header = struct.pack("!hhih", _METADATA_API_KEY, _METADATA_VERSION, 1, -1)
    request = header + struct.pack("!i", _NO_TOPICS)

    async def probe() -> bool:
        async with _connection(host, port) as (reader, writer):
            writer.write(struct.pack("!i", len(request)) + request)
            # Length, correlation ID, number of brokers.
            _, _, brokers = struct.unpack("!iii", await reader.readexactly(12))
            return bool(brokers > 0)

    return probe


def redis_answers(host: str, port: int) -> Probe:
    """The server has loaded its data and answers to PING."""

    async def probe() -> bool:
        async with _connection(host, port) as (reader, writer):
            writer.write(b"PING\r\n")
            return await reader.readline() == b"+PONG\r\n"

    return probe


def grpc_answers(host: str, port: int) -> Probe:
    """A gRPC server takes the connection: it sends its HTTP/2 settings first (RFC 9113, section 3.4)."""
    settings_frame = 4

    async def probe() -> bool:
        async with _connection(host, port) as (reader, writer):
            writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00")
            frame = await reader.readexactly(9)
            return frame[3] == settings_frame

    return probe


def http_ok(host: str, port: int, path: str) -> Probe:
    """``GET path`` gives 200."""
    request = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode()

    async def probe() -> bool:
        async with _connection(host, port) as (reader, writer):
            writer.write(request)
            return (await reader.readline()).split(b" ")[1:2] == [b"200"]

    return probe


@asynccontextmanager
async def _connection(host: str, port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection on which everything together may take two seconds.

    Raises:
        OSError: refused, closed too early, or too slow (``TimeoutError`` is one).
    """
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                yield reader, writer
            finally:
                writer.close()
    except asyncio.IncompleteReadError as error:
        msg = "closed too early"
        raise ConnectionResetError(msg) from error
