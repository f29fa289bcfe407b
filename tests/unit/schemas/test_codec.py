from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, get_args, get_origin

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from schemas import codec
from schemas.events import EVENTS, DocumentSubmitted, DocumentWithdrawn, Event, QueryAccepted, QueryAsked, QueryEmbedded
from schemas.examples import EXAMPLES
from schemas.values import MAX_INTEGER, Passage, ResponseFormat, Value

TEXT = st.text(max_size=20)
MOMENTS = st.datetimes(timezones=st.just(UTC))


def _values(annotation: Any, limits: list[Any]) -> st.SearchStrategy[Any]:
    """Values of a field's type, within its limits."""
    arguments = get_args(annotation)
    if get_origin(annotation) is Annotated:
        inner, *metadata = arguments
        own = [part for item in metadata for part in (item.metadata if isinstance(item, FieldInfo) else [item])]
        strategy = _values(inner, [*limits, *own])
    elif get_origin(annotation) is tuple:
        strategy = st.lists(_values(arguments[0], []), max_size=3).map(tuple)
    elif get_origin(annotation) is dict:
        strategy = st.dictionaries(TEXT, TEXT | st.integers(0, 9), max_size=3)
    elif get_origin(annotation) is Literal:
        strategy = st.sampled_from(arguments)
    elif arguments:
        strategy = st.one_of([_values(argument, []) for argument in arguments])
    elif annotation is ResponseFormat:
        strategy = RESPONSE_FORMATS
    elif issubclass(annotation, Value):
        strategy = models(annotation)
    else:
        names = ("ge", "gt", "le", "min_length")
        strategy = PLAIN[annotation](
            {name: getattr(item, name) for item in limits for name in names if hasattr(item, name)}
        )
    return strategy


PLAIN: dict[Any, Callable[[dict[str, Any]], st.SearchStrategy[Any]]] = {
    int: lambda bound: st.integers(bound.get("ge", bound.get("gt", -1) + 1), bound["le"]),
    float: lambda bound: st.floats(
        bound.get("ge", bound.get("gt")),
        bound.get("le"),
        exclude_min="gt" in bound,
        allow_nan=False,
        allow_infinity=False,
    ),
    str: lambda bound: st.text(min_size=bound.get("min_length", 0), max_size=20),
    datetime: lambda _: MOMENTS,
    type(None): lambda _: st.none(),
}


RESPONSE_FORMATS = st.just(ResponseFormat(type="json_object")) | st.dictionaries(
    TEXT, st.integers(-(2**63), 2**63 - 1) | TEXT | st.lists(st.booleans(), max_size=2), max_size=3
).map(lambda schema: ResponseFormat.model_validate({"type": "json_schema", "json_schema": schema}))


def models(kind: type[Any]) -> st.SearchStrategy[Any]:
    return st.builds(
        kind, **{name: _values(field.annotation, field.metadata) for name, field in kind.model_fields.items()}
    )


ANY_EVENT = st.sampled_from(EVENTS).flatmap(models)
ANY_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(ANY_EVENT)
def test_every_event_comes_back_as_it_went(event: Event) -> None:
    value = codec.encode(event)
    assert codec.decode(value, event.TYPE, EVENTS) == event
    assert codec.encode(event) == value


@given(value=st.binary(max_size=200) | st.none(), ce_type=st.none() | st.sampled_from([e.TYPE for e in EVENTS]) | TEXT)
def test_bytes_of_any_kind_are_an_event_or_undecodable(value: bytes | None, ce_type: str | None) -> None:
    try:
        event = codec.decode(value, ce_type, EVENTS)
    except codec.UndecodableError as error:
        sentence = str(error)
    else:
        sentence = f"it is a {event.TYPE}"
        codec.encode(event)
    assert sentence
    assert "\n" not in sentence


@given(
    example=st.sampled_from([example for example in EXAMPLES if codec.encode(example)]),
    changes=st.dictionaries(st.integers(0, 12), ANY_JSON, max_size=3),
)
def test_json_of_any_shape_is_an_event_or_undecodable(example: Event, changes: dict[int, Any]) -> None:
    document = orjson.loads(codec.encode(example) or b"")
    fields = list(document)
    document.update({fields[index % len(fields)]: value for index, value in changes.items()})
    try:
        event = codec.decode(orjson.dumps(document), example.TYPE, EVENTS)
    except codec.UndecodableError:
        return
    assert codec.decode(codec.encode(event), example.TYPE, EVENTS) == event


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'{"question":' * 5_000,
        b"NaN",
        b'{"question": "\\ud800"}',
        b'{"question": null}',
        b'{"question": "a", "seed": 9223372036854775808}',
        b'{"question": "a", "seed": "' + b"9" * 30 + b'"}',
        b'{"question": "a", "seed": "' + b"9" * 5_000 + b'"}',
        b'{"question": "a", "min_score": "nan"}',
        b'{"question": "a", "temperature": 1e999}',
        b'{"question": "a", "deadline_at": "0001-01-01T00:00:00+23:59"}',
        b'{"question": "a", "deadline_at": 1e300}',
        b'"question"',
        b"[]",
    ],
    ids=lambda value: value[:40],
)
def test_hostile_questions_are_undecodable(value: bytes) -> None:
    with pytest.raises(codec.UndecodableError):
        codec.decode(value, None, (QueryAsked,))


def test_a_plain_question_needs_no_type_and_unknown_fields_are_ignored() -> None:
    event = codec.decode(b'{"question": "Why?", "mood": "curious"}', None, (QueryAsked,))
    assert event == QueryAsked(question="Why?")


def test_the_type_says_which_event_it_is() -> None:
    with pytest.raises(
        codec.UndecodableError, match=r"'ragline.query.asked.v2' is unknown; expected ragline.query.asked.v1"
    ):
        codec.decode(b"{}", "ragline.query.asked.v2", (QueryAsked,))
    with pytest.raises(codec.UndecodableError, match=r"belongs to another topic"):
        codec.decode(b"{}", QueryAccepted.TYPE, (QueryAsked,))


def test_the_sentence_names_the_fields() -> None:
    with pytest.raises(codec.UndecodableError, match=r"not a ragline.query.asked.v1: question: Field required"):
        codec.decode(b"{}", None, (QueryAsked,))


def test_a_null_value_withdraws_a_document_and_nothing_else() -> None:
    assert codec.encode(DocumentWithdrawn()) is None
    assert codec.decode(None, None, (DocumentSubmitted, DocumentWithdrawn)) == DocumentWithdrawn()
    with pytest.raises(codec.UndecodableError, match=r"no value"):
        codec.decode(None, None, (QueryAsked,))


def test_lone_surrogates_become_question_marks() -> None:
    value = codec.encode(QueryAsked(question="a\ud800b", stop=("\udfff",)))
    event = codec.decode(value, None, (QueryAsked,))
    assert (event.question, event.stop) == ("a?b", ("?",))


def test_a_moment_without_offset_is_utc_and_one_with_is_turned() -> None:
    naive = codec.decode(b'{"question": "a", "deadline_at": "2026-01-02T03:04:05"}', None, (QueryAsked,))
    turned = codec.decode(b'{"question": "a", "deadline_at": "2026-01-02T04:04:05+01:00"}', None, (QueryAsked,))
    assert naive.deadline_at == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert codec.encode(naive) == codec.encode(turned)


@pytest.mark.parametrize("score", [float("nan"), float("inf"), float("-inf")])
def test_numbers_are_finite(score: float) -> None:
    fields = EXAMPLES[3].model_dump()["passages"][0]  # type: ignore[index]
    with pytest.raises(ValidationError):
        Passage(**{**fields, "score": score})


def test_integers_fit_64_bits() -> None:
    assert (
        codec.decode(codec.encode(QueryAsked(question="a", seed=MAX_INTEGER)), None, (QueryAsked,)).seed == MAX_INTEGER
    )
    with pytest.raises(ValidationError):
        QueryAsked(question="a", seed=MAX_INTEGER + 1)


def test_a_damaged_embedding_is_named_when_it_is_unpacked() -> None:
    embedded = next(example for example in EXAMPLES if isinstance(example, QueryEmbedded))
    assert embedded.embedding.unpack().shape == (3,)
    for data in ("", "AAA", "AAAAAAAA", "ÄÖÜ="):
        with pytest.raises(ValueError, match=r".+"):
            embedded.embedding.model_copy(update={"data": data}).unpack()
