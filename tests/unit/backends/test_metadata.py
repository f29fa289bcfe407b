"""What documents may say of themselves."""

import pytest

from backends.metadata import MAX_FIELDS, MetadataError, checked, is_value


def test_texts_numbers_and_flags_are_taken_as_they_are() -> None:
    given = {"year": 2021, "share": 0.5, "lang": "ünï 漢", "is_draft": True, "a-b_9": ""}
    assert checked(given) == given
    assert checked(given)["is_draft"] is True
    assert checked({}) == {}
    assert all(map(is_value, given.values()))
    assert not any(map(is_value, [None, [], {}]))


@pytest.mark.parametrize(
    ("metadata", "sentence"),
    [
        ({"tags": ["a"]}, r"field tags is a list; texts, numbers, true and false are taken\."),
        ({"by": {"name": "x"}}, r"field by is an object"),
        ({"by": None}, r"field by is null"),
        ({"a.b": 1}, r"field 'a\.b' has a name that is not taken"),
        ({"": 1}, r"field '' has a name"),
        ({"9a": 1}, r"has a name"),
        ({"a\nb": 1}, r"has a name"),
        ({"a\n": 1}, r"has a name"),
        ({"é": 1}, r"has a name"),
        ({"x" * 65: 1}, r"has a name"),
        ({"\ud800": 1}, r"field '\?' has a name"),
        ({"a": "\ud800"}, r"field a is not valid text"),
        ({"a": "x\x00"}, r"field a is not valid text"),
        ({"a": 2**63}, r"field a has a number of more than 64 bits"),
        ({"a": float("inf")}, r"field a has a number of more than 64 bits"),
        ({"a": float("nan")}, r"field a has a number of more than 64 bits"),
        ({f"f{n}": n for n in range(MAX_FIELDS + 1)}, r"has 33 fields; 32 are allowed"),
        ({"a": "ä" * 2_048}, r"has 4104 bytes as JSON; 4096 are allowed"),
    ],
)
def test_what_is_not_taken_is_one_sentence(metadata: dict[str, object], sentence: str) -> None:
    with pytest.raises(MetadataError, match=sentence) as caught:
        checked(metadata)
    assert str(caught.value).endswith(".")
    assert len(str(caught.value)) < 220
