"""The monitor on a real broker."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from backends.kafka import KafkaSettings
from schemas.events import Answered, QueryAccepted
from schemas.headers import Headers, StageTime
from topics.admin import apply_topics
from topics.names import Namespace
from topics.settings import TopicSettings
from topics.specs import ANSWERS, QUERIES, QUERIES_ACCEPTED
from workers.monitor import Monitor
from workers.settings import MonitorSettings
from workers.timelines import WATCHED

pytestmark = pytest.mark.servers

TIMEOUT_S = 60.0
SETTINGS = MonitorSettings(http_port=0, window_s=3600)


@pytest.fixture
def kafka(kafka_bootstrap: str) -> KafkaSettings:
    return KafkaSettings(bootstrap_servers=kafka_bootstrap)


@pytest.fixture
def names() -> Namespace:
    return Namespace(f"t{uuid4().hex[:12]}")


@asynccontextmanager
async def running(kafka: KafkaSettings, names: Namespace, folder: Path) -> AsyncIterator[httpx.AsyncClient]:
    monitor = Monitor(kafka, names, SETTINGS, folder)
    stop = asyncio.Event()
    task = asyncio.create_task(monitor.run(stop))
    try:
        async with asyncio.timeout(TIMEOUT_S):
            port = await monitor.port
            ready = asyncio.create_task(monitor.ready.wait())
            await asyncio.wait({ready, task}, return_when=asyncio.FIRST_COMPLETED)
            ready.cancel()
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
                yield client
    finally:
        stop.set()
        await task


async def until(ask: Callable[[], Awaitable[httpx.Response]], wanted: Callable[[Any], bool]) -> Any:
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            response = await ask()
            if response.status_code == 200 and wanted(response.json()):
                return response.json()
            await asyncio.sleep(0.05)


def headers(event_id: str, event_type: str, *timeline: StageTime) -> list[tuple[str, bytes]]:
    return Headers(id=event_id, type=event_type, time=datetime.now(UTC), timeline=timeline).encode()


async def write_one_request(kafka: KafkaSettings, names: Namespace, request_id: str) -> None:
    key = request_id.encode()
    now_ms = int(datetime.now(UTC).timestamp() * 1000)
    query = StageTime("query", now_ms, now_ms + 20)
    generation = StageTime("generation", now_ms + 50, now_ms + 450)
    async with AIOKafkaProducer(**kafka.client_options()) as producer:
        await producer.send_and_wait(names.topic(QUERIES), b'{"question": "Why?"}', key=key)
        for _ in range(2):
            await producer.send_and_wait(
                names.topic(QUERIES_ACCEPTED),
                b"not read",
                key=key,
                headers=headers(f"{request_id}-1", QueryAccepted.TYPE, query),
            )
        await producer.send_and_wait(names.topic(QUERIES), b"\xff", key=b"\xff", headers=[("ce_time", b"\xff")])
        await producer.send_and_wait(
            names.topic(ANSWERS),
            b"not read",
            key=key,
            headers=headers(f"{request_id}-2", Answered.TYPE, query, generation),
        )


async def test_it_shows_a_request_and_counts_each_event_once(
    kafka: KafkaSettings, names: Namespace, tmp_path: Path
) -> None:
    await apply_topics(kafka, TopicSettings(partitions=2), names)
    async with running(kafka, names, tmp_path) as client:
        assert (await client.get("/readyz")).status_code == 200
        await write_one_request(kafka, names, "r1")
        found = await until(lambda: client.get("/requests/r1"), lambda request: request["ended"] is not None)
        assert [stage["stage"] for stage in found["stages"]] == ["query", "generation"]
        assert len(found["events"]) == 3
        latency = (await client.get("/latency")).json()
        assert latency["stages"]["query"]["took"] == {"count": 1, "p50_ms": 20, "p95_ms": 20}
        assert latency["stages"]["generation"]["waited"] == {"count": 1, "p50_ms": 30, "p95_ms": 30}
        assert latency["request"]["count"] == 1
        assert "ragline_monitor_repeated_total 1.0" in (await client.get("/metrics")).text
        status = (await client.get("/status")).json()
        assert len(status["partitions"]) == 2 * len(WATCHED)


async def test_it_makes_no_topics_and_goes_on_where_it_was(
    kafka: KafkaSettings, names: Namespace, tmp_path: Path
) -> None:
    await apply_topics(kafka, TopicSettings(partitions=1), names)
    before = await topics_of(kafka, names)
    async with running(kafka, names, tmp_path) as client:
        await write_one_request(kafka, names, "r1")
        await until(lambda: client.get("/requests/r1"), lambda request: request["ended"] is not None)
    async with running(kafka, names, tmp_path) as client:
        await write_one_request(kafka, names, "r2")
        await until(lambda: client.get("/requests/r2"), lambda request: request["ended"] is not None)
        assert (await client.get("/requests/r1")).status_code == 404
    assert await topics_of(kafka, names) == before


async def topics_of(kafka: KafkaSettings, names: Namespace) -> set[str]:
    client = AIOKafkaAdminClient(**kafka.client_options())
    await client.start()
    try:
        return {topic for topic in await client.list_topics() if names.prefix in topic}
    finally:
        await client.close()


async def test_it_waits_for_topics_and_is_not_ready_before(
    kafka: KafkaSettings, names: Namespace, tmp_path: Path
) -> None:
    monitor = Monitor(kafka, names, SETTINGS, tmp_path)
    stop = asyncio.Event()
    task = asyncio.create_task(monitor.run(stop))
    async with asyncio.timeout(TIMEOUT_S):
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{await monitor.port}") as client:
            assert (await client.get("/livez")).status_code == 200
            assert (await client.get("/readyz")).status_code == 503
            await apply_topics(kafka, TopicSettings(partitions=1), names)
            await monitor.ready.wait()
            assert (await client.get("/readyz")).status_code == 200
        stop.set()
        await task


async def test_it_stops_while_it_waits(kafka: KafkaSettings, names: Namespace, tmp_path: Path) -> None:
    monitor = Monitor(kafka, names, SETTINGS, tmp_path)
    stop = asyncio.Event()
    task = asyncio.create_task(monitor.run(stop))
    async with asyncio.timeout(TIMEOUT_S):
        await monitor.port
        stop.set()
        await task


PROGRAM = """
import asyncio, sys
from pathlib import Path
from backends.kafka import KafkaSettings
from topics.names import Namespace
from workers.monitor import run_monitor
from workers.runtime.logs import configure
from workers.settings import MonitorSettings

configure("json", "info")
servers, prefix, folder = sys.argv[1:]
kafka = KafkaSettings(bootstrap_servers=servers)
asyncio.run(run_monitor(kafka, Namespace(prefix), MonitorSettings(http_port=0), Path(folder)))
"""


async def test_sigterm_ends_the_process_cleanly(kafka: KafkaSettings, names: Namespace, tmp_path: Path) -> None:
    await apply_topics(kafka, TopicSettings(partitions=1), names)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-c", PROGRAM, kafka.bootstrap_servers, names.prefix, str(tmp_path)),
        stderr=subprocess.PIPE,
    )
    assert process.stderr
    try:
        async with asyncio.timeout(TIMEOUT_S):
            said = b""
            while b'"ready"' not in said:
                said += await process.stderr.readuntil(b"\n")
            process.send_signal(signal.SIGTERM)
            _, rest = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, (said + rest).decode()
    assert b'"stopped"' in rest
    assert b"Traceback" not in said + rest
