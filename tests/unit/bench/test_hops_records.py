from collections import Counter
from datetime import UTC, datetime

from bench.hops_echo import Echo
from bench.hops_options import SLOW_KEY, STAGES, WAY
from bench.hops_records import VALUE, VALUE_BYTES, headers_of, keys
from schemas import codec
from schemas.events import QueryAsked
from schemas.headers import Headers, Origin
from workers.runtime.stage import Delivery, Produce


def test_keys_are_distinct_and_one_in_so_many_is_slow() -> None:
    made = keys(5, 1000, slow_every=100)
    assert len(set(made)) == 1000
    assert {len(key) for key in made} == {36}
    assert Counter(key.startswith(SLOW_KEY) for key in made)[True] == 10
    assert not set(made) & set(keys(1005, 1000, slow_every=100))


async def test_every_stage_makes_an_event_of_about_the_same_size_for_the_next_topic() -> None:
    [key] = keys(0, 1)
    event = codec.decode(VALUE, Headers.decode(headers_of(key)).type, (QueryAsked,))
    sizes = [len(VALUE)]
    for number in range(STAGES):
        origin = Origin(WAY[number].name, 0, 0)
        outcome = await Echo(number).handle(Delivery(key.decode(), event, Headers(), origin, datetime.now(UTC)))
        assert isinstance(outcome, Produce)
        [event] = outcome.events
        assert isinstance(event, WAY[number + 1].events)
        sizes.append(len(codec.encode(event) or b""))
    assert sizes[0] == VALUE_BYTES
    assert all(0.75 * VALUE_BYTES < size < 1.25 * VALUE_BYTES for size in sizes)
