"""Vectors survive the wire bit by bit."""

import base64

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from schemas.values import Embedding, FloatArray

vectors = arrays.arrays(np.float32, st.integers(1, 600), elements=st.floats(width=32))


@given(vectors)
def test_unpacking_gives_back_what_was_packed(vector: FloatArray) -> None:
    packed = Embedding.pack("model", vector)
    unpacked = Embedding.model_validate_json(packed.model_dump_json()).unpack()
    assert packed.dimensions == len(vector)
    assert unpacked.dtype == np.float32
    assert unpacked.tobytes() == vector.tobytes()


@given(vectors)
def test_packing_sees_values_not_memory(vector: FloatArray) -> None:
    spread = np.repeat(vector, 2)[::2]
    big_endian = vector.astype(">f4")
    assert Embedding.pack("m", spread) == Embedding.pack("m", vector)
    assert Embedding.pack("m", big_endian) == Embedding.pack("m", vector)  # type: ignore[arg-type]  # on purpose


def test_a_prompt_is_named_where_there_was_one() -> None:
    vector = np.ones(2, dtype=np.float32)
    assert Embedding.pack("m", vector, "query: ").prompt == "query: "
    assert "prompt" not in Embedding.pack("m", vector).model_dump_json()


@given(st.binary(max_size=64), st.integers(1, 16))
def test_data_of_another_length_is_refused(data: bytes, dimensions: int) -> None:
    embedding = Embedding(model="m", dimensions=dimensions, data=base64.b64encode(data).decode())
    if len(data) == 4 * dimensions:
        embedding.unpack()
    else:
        with pytest.raises(ValueError, match=r"embedding holds|buffer size"):
            embedding.unpack()
