import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from faults import traps as module
from faults.traps import Trap, TrapFolder, Traps, spring


@pytest.fixture
def folder(tmp_path: Path) -> TrapFolder:
    return TrapFolder(tmp_path)


@pytest.fixture
def worker(folder: TrapFolder) -> Traps:
    return Traps(folder.folder, "prompt", "prompt-1")


def test_a_trap_springs_once_after_so_many_passes_of_one_worker(folder: TrapFolder, worker: Traps) -> None:
    trap = folder.set("prompt", "before_send", "kill", passes=2)
    assert [worker.passed("before_send") for _ in range(4)] == [None, None, trap, None]
    assert folder.sprung_by(trap) == os.getpid()


def test_only_the_stage_and_the_point_count(folder: TrapFolder, worker: Traps) -> None:
    folder.set("query", "before_send", "kill")
    folder.set("prompt", "mid_commit", "kill")
    assert worker.passed("before_send") is None
    assert worker.passed("mid_commit") is not None


def test_a_trap_springs_in_one_worker_only(folder: TrapFolder, worker: Traps) -> None:
    other = Traps(folder.folder, "prompt", "prompt-2")
    folder.set("prompt", "after_send", "kill")
    assert worker.passed("after_send") is not None
    assert other.passed("after_send") is None


def test_traps_at_the_same_point_come_one_after_the_other(folder: TrapFolder, worker: Traps) -> None:
    numbers = []
    for _ in range(2):
        folder.set("prompt", "after_send", "kill", passes=1)
        assert worker.passed("after_send") is None
        trap = worker.passed("after_send")
        assert trap is not None
        numbers.append(trap.number)
    assert numbers == [1, 2]


def test_cleared_traps_are_gone(folder: TrapFolder, worker: Traps) -> None:
    left = folder.set("prompt", "before_send", "kill")
    folder.clear()
    assert worker.passed("before_send") is None
    assert folder.sprung_by(left) is None


def test_a_worker_is_slow_while_it_is_told_to_be(folder: TrapFolder, worker: Traps) -> None:
    folder.slow("prompt-1", slow=True)
    assert worker.slowed
    folder.slow("prompt-1", slow=False)
    assert not worker.slowed


def test_springing_kills_or_stops_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[int, str]] = []
    monkeypatch.setattr(module.os, "kill", lambda pid, number: sent.append((pid, number.name)))
    for action in ("kill", "stop", "engine_hung", "engine_dead"):
        spring(Trap(number=1, action=action))
    assert sent == [(os.getpid(), "SIGKILL"), (os.getpid(), "SIGSTOP")]


class Client:
    """As much of a Kafka client as traps and defects get in the way of."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings
        self.calls: list[str] = []
        self.acknowledged: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def send(self, topic: str) -> asyncio.Future[str]:
        self.calls.append(f"send {topic}")
        return self.acknowledged

    async def send_batch(self, batch: str, topic: str, *, partition: int) -> asyncio.Future[str]:
        self.calls.append(f"send_batch {batch} {topic} {partition}")
        return self.acknowledged

    async def commit(self) -> None:
        self.calls.append("commit")

    async def commit_transaction(self) -> None:
        self.calls.append("commit_transaction")

    async def send_offsets_to_transaction(self) -> None:
        self.calls.append("send_offsets_to_transaction")


@pytest.fixture
async def client(worker: Traps, monkeypatch: pytest.MonkeyPatch) -> Client:
    """A client with the points installed; instead of being killed it notes that it would be."""

    class Trapped(Client):
        send, send_batch = Client.send, Client.send_batch
        commit, commit_transaction = Client.commit, Client.commit_transaction
        send_offsets_to_transaction = Client.send_offsets_to_transaction

    monkeypatch.setattr(module, "AIOKafkaProducer", Trapped)
    monkeypatch.setattr(module, "AIOKafkaConsumer", Trapped)
    worker.install()
    made = Trapped(transactional_id="group-topic-0")
    monkeypatch.setattr(module.os, "kill", lambda _, number: made.calls.append(number.name))
    return made


async def send(client: Client, how: str) -> asyncio.Future[str]:
    return await (client.send("t") if how == "send" else client.send_batch("b", "t", partition=1))


SENT = {"send": "send t", "send_batch": "send_batch b t 1"}


@pytest.mark.parametrize("how", SENT)
async def test_a_worker_is_killed_before_it_sends(folder: TrapFolder, client: Client, how: str) -> None:
    folder.set("prompt", "before_send", "kill")
    await send(client, how)
    assert client.calls == ["SIGKILL", SENT[how]]


@pytest.mark.parametrize("how", SENT)
async def test_a_worker_is_killed_when_the_brokers_have_acknowledged(
    folder: TrapFolder, client: Client, how: str
) -> None:
    folder.set("prompt", "after_send", "kill")
    sent = await send(client, how)
    assert client.calls == [SENT[how]]
    client.acknowledged.set_result("there")
    assert await sent == "there"
    await asyncio.sleep(0)
    assert client.calls == [SENT[how], "SIGKILL"]


async def test_a_refusal_is_no_acknowledgement(folder: TrapFolder, client: Client) -> None:
    folder.set("prompt", "after_send", "kill")
    sent = await client.send("t")
    client.acknowledged.set_exception(ValueError())
    with pytest.raises(ValueError):  # noqa: PT011 - the one above
        await sent
    await asyncio.sleep(0)
    assert client.calls == ["send t"]


@pytest.mark.parametrize("name", ["commit", "commit_transaction"])
async def test_a_worker_is_killed_when_a_commit_is_under_way(folder: TrapFolder, client: Client, name: str) -> None:
    folder.set("prompt", "mid_commit", "kill", delay_ms=1)
    await getattr(client, name)()
    assert client.calls == [name, "SIGKILL"]


@pytest.mark.parametrize("name", ["commit", "send_offsets_to_transaction"])
async def test_a_worker_is_killed_after_its_offsets(folder: TrapFolder, client: Client, name: str) -> None:
    folder.set("prompt", "after_offsets", "kill")
    await getattr(client, name)()
    assert client.calls == [name, "SIGKILL"]


async def test_transactional_ids_are_noted(folder: TrapFolder, client: Client) -> None:
    assert client.settings == {"transactional_id": "group-topic-0"}
    assert folder.transactional_ids() == ["group-topic-0"]
