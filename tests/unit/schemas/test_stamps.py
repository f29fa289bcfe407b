"""What decided an event, as its header says it."""

from dataclasses import replace

import pytest

from schemas.headers import STAMP, Headers
from schemas.stamps import Stamp, decode, encode, sampled
from schemas.values import ResponseFormat, Sampling


def test_only_what_is_known_is_said_and_the_own_wins() -> None:
    worker = Stamp(ragline="1", model="m", temperature=1.0)
    assert encode(Stamp()) == b""
    assert decode(encode(worker)) == {"ragline": "1", "model": "m", "temperature": 1.0}
    assert decode(encode(worker, Stamp(temperature=0.0))) == {"ragline": "1", "model": "m", "temperature": 0.0}
    assert encode(worker) is encode(replace(worker))


def test_sampling_is_told_with_its_seed_and_the_answers_form() -> None:
    sampling = Sampling(max_tokens=5, seed=3, stop=("a",), response_format=ResponseFormat(type="json_object"))
    assert decode(encode(sampled(sampling))) == {
        "max_tokens": 5,
        "temperature": 0.0,
        "top_p": 1.0,
        "seed": 3,
        "stop": ["a"],
        "response_format": "json_object",
    }
    assert "seed" not in decode(encode(sampled(Sampling())))


@pytest.mark.parametrize("value", [None, b"", b"[1]", b"{", b"null", b'{"a":"' + b"x" * 20_000 + b'"}'])
def test_a_stamp_that_cannot_be_read_says_nothing(value: bytes | None) -> None:
    assert decode(value) == {}


def test_headers_read_stamps_of_later_versions_too() -> None:
    headers = Headers.decode([(STAMP, b'{"ragline":"9","quantum":true}')])
    assert headers.stamp == {"ragline": "9", "quantum": True}
    assert Headers().stamp == {}
