r"""Reads filters as people write them: ``source starts_with "docs/" and not (ordinal > 3 or title in ["A", "B"])``.

    filter     = term *( "or" term )
    term       = factor *( "and" factor )
    factor     = "not" factor / "(" filter ")" / condition
    condition  = field ( "==" / "!=" / "<" / "<=" / ">" / ">=" ) value
               / field [ "not" ] "in" "[" value *( "," value ) "]"
               / field "starts_with" text
    field      = one of ``filters.FIELDS`` / "metadata." name
    value      = text / integer / decimal / "true" / "false"

A text stands in single or double quotes; ``\`` before a quote or a backslash makes it a part of the text. A document's
own fields hold values of any kind; true and false are only equal or not.
"""

import math
import re
from dataclasses import dataclass
from typing import NoReturn, cast

from backends.filters import (
    FIELDS,
    METADATA_PREFIX,
    AllOf,
    AnyOf,
    Comparison,
    Filter,
    Not,
    OneOf,
    Operator,
    Scalar,
    StartsWith,
)
from backends.metadata import MAX_NAME_CHARS

MAX_FILTER_CHARS = 1_000
_MAX_DEPTH = 20
_MAX_INTEGER = 2**63 - 1
_TOKEN = re.compile(
    r"""\s*(?:
        (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
      | (?P<decimal>-?[0-9]+\.[0-9]+(?![\w.]))
      | (?P<integer>-?[0-9]+(?![\w.]))
      | (?P<symbol>==|!=|<=|>=|<|>|\(|\)|\[|\]|,)
      | (?P<word>metadata\.[A-Za-z_][A-Za-z0-9_-]*|[^\W\d]\w*)
    )""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_EQUALITIES = ("==", "!=")
_COMPARISONS = (*_EQUALITIES, "<", "<=", ">", ">=")
_FLAGS = {"true": True, "false": False}


class FilterError(ValueError):
    """The filter cannot be read; the message says in one sentence where and why."""


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    place: int


def parse_filter(text: str) -> Filter:
    """Read a filter.

    Raises:
        FilterError: it is too long, is no filter, or names a field that chunks do not have.
    """
    if len(text) > MAX_FILTER_CHARS:
        msg = f"The filter has {len(text)} characters; at most {MAX_FILTER_CHARS} are taken."
        raise FilterError(msg)
    parser = _Parser(_tokens(text))
    found = parser.any_of(1)
    if parser.token.kind != "end":
        parser.fail("and, or, or its end")
    return found


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    end = len(text.rstrip())
    place = 0
    while place < end:
        match = _TOKEN.match(text, place)
        if match is None or match.lastgroup is None:
            place += len(text[place:]) - len(text[place:].lstrip())
            msg = f"The filter cannot be read at character {place + 1}, {text[place : place + 20]!r}."
            raise FilterError(msg)
        tokens.append(_Token(match.lastgroup, match[match.lastgroup], match.start(match.lastgroup)))
        place = match.end()
    tokens.append(_Token("end", "", end))
    return tokens


class _Parser:
    """Recursive descent; each method reads one rule of the grammar from ``token`` on."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = iter(tokens)
        self.token = next(self._tokens)

    def any_of(self, depth: int) -> Filter:
        conditions = [self._all_of(depth)]
        while self._take("word", "or"):
            conditions.append(self._all_of(depth))
        return conditions[0] if len(conditions) == 1 else AnyOf(tuple(conditions))

    def fail(self, expected: str) -> NoReturn:
        found = repr(self.token.text) if self.token.text else "its end"
        msg = f"The filter has {found} at character {self.token.place + 1}, where {expected} should be."
        raise FilterError(msg)

    def _all_of(self, depth: int) -> Filter:
        conditions = [self._factor(depth)]
        while self._take("word", "and"):
            conditions.append(self._factor(depth))
        return conditions[0] if len(conditions) == 1 else AllOf(tuple(conditions))

    def _factor(self, depth: int) -> Filter:
        if depth > _MAX_DEPTH:
            msg = f"The filter is nested deeper than {_MAX_DEPTH} levels."
            raise FilterError(msg)
        if self._take("word", "not"):
            return Not(self._factor(depth + 1))
        if self._take("symbol", "("):
            found = self.any_of(depth + 1)
            self._need("symbol", ")")
            return found
        return self._condition()

    def _condition(self) -> Filter:
        field = self._field()
        if self._take("word", "starts_with"):
            if FIELDS.get(field) is int:
                msg = f"The filter's field {field} holds a number, which does not start with a text."
                raise FilterError(msg)
            if self.token.kind != "text":
                self.fail("a text in quotes")
            return StartsWith(field, str(self._value(field)))
        if self._take("word", "not"):
            self._need("word", "in")
            return Not(OneOf(field, self._values(field)))
        if self._take("word", "in"):
            return OneOf(field, self._values(field))
        symbol = self.token.text
        if self.token.kind != "symbol" or symbol not in _COMPARISONS:
            self.fail("a comparison, in or starts_with")
        self._advance()
        place = self.token.place
        value = self._value(field)
        if isinstance(value, bool) and symbol not in _EQUALITIES:
            msg = f"The filter's {str(value).lower()} at character {place + 1} is equal or not, and in no order."
            raise FilterError(msg)
        return Comparison(field, cast("Operator", symbol), value)

    def _field(self) -> str:
        field = self.token.text
        if self.token.kind != "word" or field in {"and", "or", "in", "starts_with"}:
            self.fail("a field, not or (")
        name = field.removeprefix(METADATA_PREFIX)
        if len(name) > MAX_NAME_CHARS or (name == field and field not in FIELDS):
            known = ", ".join(FIELDS)
            msg = f"The filter's field {field[:40]!r} is not known; known are {known} and metadata.NAME."
            raise FilterError(msg)
        self._advance()
        return field

    def _values(self, field: str) -> tuple[Scalar, ...]:
        self._need("symbol", "[")
        values = [self._value(field)]
        while self._take("symbol", ","):
            values.append(self._value(field))
        self._need("symbol", "]")
        return tuple(values)

    def _value(self, field: str) -> Scalar:
        token = self.token
        holds = FIELDS.get(field)
        is_flag = token.kind == "word" and token.text in _FLAGS
        if holds is None and not is_flag and token.kind not in {"text", "integer", "decimal"}:
            self.fail("a text in quotes, a number, true or false")
        if holds is str and token.kind != "text":
            self.fail("a text in quotes")
        if holds is int and token.kind != "integer":
            self.fail("a whole number")
        self._advance()
        if is_flag:
            return _FLAGS[token.text]
        if token.kind == "text":
            return _ESCAPE.sub(r"\1", token.text[1:-1])
        value: int | float = int(token.text) if token.kind == "integer" else float(token.text)
        if not math.isfinite(value) or (isinstance(value, int) and abs(value) > _MAX_INTEGER):
            msg = f"The filter's number at character {token.place + 1} has more than 64 bits."
            raise FilterError(msg)
        return value

    def _take(self, kind: str, text: str) -> bool:
        if (self.token.kind, self.token.text) != (kind, text):
            return False
        self._advance()
        return True

    def _need(self, kind: str, text: str) -> None:
        if not self._take(kind, text):
            self.fail(repr(text))

    def _advance(self) -> None:
        self.token = next(self._tokens)
