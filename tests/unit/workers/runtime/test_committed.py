from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import GroupAuthorizationFailedError, RequestTimedOutError

from workers.runtime.committed import read_committed

FIRST, SECOND = TopicPartition("t", 0), TopicPartition("t", 1)


class Answer:
    def __init__(self, *partitions: tuple[int, int, str | None, int], error_code: int = 0) -> None:
        rows = [(number, offset, -1, metadata, error, {}) for number, offset, metadata, error in partitions]
        self.topics = [("t", rows, {})] if rows else []
        self.error_code = error_code


class Coordinator:
    """Gives prepared answers, one after the other."""

    def __init__(self, *answers: Answer | Exception) -> None:
        self.answers = list(answers)
        self.sent: list[Any] = []
        self.looked_up = 0

    async def ensure_coordinator_known(self) -> None: ...

    def coordinator_dead(self) -> None:
        self.looked_up += 1

    async def _send_req(self, request: Any) -> Answer:
        self.sent.append(request.prepare({9: (0, 9)}))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Consumer:
    def __init__(self, *answers: Answer | Exception) -> None:
        self._coordinator = Coordinator(*answers)


GOOD = Answer((0, 7, "r1:x", 0), (1, -1, None, 0))


@pytest.mark.parametrize(
    ("answer", "looked_up"),
    [
        (Answer(error_code=16), 1),  # not the coordinator: no partitions in it, which does not mean no commits
        (Answer(error_code=15), 1),
        (Answer(error_code=14), 0),
        (Answer((0, -1, "", 88), (1, -1, "", 0)), 0),  # a transaction is being completed
        (Answer((0, -1, "", 14), (1, -1, "", 0)), 0),
        (RequestTimedOutError(), 0),
    ],
)
async def test_what_is_not_certain_is_asked_again(answer: Answer | Exception, looked_up: int) -> None:
    consumer = Consumer(answer, GOOD)
    commits = await read_committed(consumer, "g", [FIRST, SECOND])
    assert {tp: tuple(commit) for tp, commit in commits.items()} == {FIRST: (7, "r1:x")}
    assert consumer._coordinator.looked_up == looked_up
    assert len(consumer._coordinator.sent) == 2


async def test_only_stable_offsets_are_asked_for() -> None:
    consumer = Consumer(GOOD)
    await read_committed(consumer, "g", [FIRST, SECOND])
    [request] = consumer._coordinator.sent
    assert (request.API_VERSION, request.consumer_group, request.require_stable) == (7, "g", True)
    assert request.topics == [("t", [0, 1], {})]
    assert request.encode()


async def test_nothing_is_asked_about_nothing() -> None:
    assert await read_committed(Consumer(), "g", []) == {}


async def test_what_will_never_be_known_is_an_error() -> None:
    with pytest.raises(GroupAuthorizationFailedError):
        await read_committed(Consumer(Answer(error_code=30)), "g", [FIRST])
