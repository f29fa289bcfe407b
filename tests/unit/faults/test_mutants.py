"""Each planted defect breaks what it says it breaks."""

import asyncio
from typing import Any

import pytest

from faults import mutants as module
from faults.mutants import plant
from tests.fixtures.pipeline import eventually
from workers.runtime.progress import Progress


class Producer:
    """As much of a producer as the defects change."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings
        self.sent: list[str] = []
        self.acknowledged: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def send(self, topic: str) -> asyncio.Future[str]:
        self.sent.append(topic)
        return self.acknowledged

    async def send_batch(self, _batch: str, topic: str, *, partition: int) -> asyncio.Future[str]:
        self.sent.append(f"{topic}/{partition}")
        return self.acknowledged


@pytest.fixture
def mutated(monkeypatch: pytest.MonkeyPatch) -> type[Producer]:
    """The class that defects are planted in."""

    class Mutated(Producer):
        def __init__(self, **settings: Any) -> None:
            super().__init__(**settings)

        send, send_batch = Producer.send, Producer.send_batch

    monkeypatch.setattr(module, "AIOKafkaProducer", Mutated)
    return Mutated


async def test_without_fencing_no_two_producers_share_a_transactional_id(mutated: type[Producer]) -> None:
    plant("fencing_off")
    first, second = (mutated(transactional_id="id").settings["transactional_id"] for _ in range(2))
    assert first != second
    assert first.startswith("id-")
    assert mutated().settings == {}


@pytest.mark.parametrize("how", ["send", "send_batch"])
async def test_what_has_not_been_sent_is_acknowledged(
    mutated: type[Producer], how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant("commit_before_acks")
    monkeypatch.setattr(module, "_SEND_WAIT_S", 0)
    producer = mutated()
    sent = await (producer.send("t") if how == "send" else producer.send_batch("b", "t", partition=0))
    assert sent.done()
    assert producer.sent == []
    producer.acknowledged.set_result("there")
    await eventually(lambda: bool(producer.sent))
    assert producer.sent == ["t" if how == "send" else "t/0"]


def test_gaps_below_the_watermark_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Progress, "commit", Progress.commit)
    progress = Progress(10)
    for offset in range(10, 15):
        progress.begin(offset)
    progress.finish(12)
    right = progress.commit()
    plant("watermark_ignores_gaps")
    assert right[0] == 10
    assert progress.commit() == (13, "")
    for offset in (10, 11, 13, 14):
        progress.finish(offset)
    assert progress.commit() == (15, "")
