"""Texts as numbers in the order of their code points, for stores that compare numbers only.

UTF-8 orders texts as their code points do. A text's bytes, each raised by one, and a 0 for its end, are read as numbers
of six digits in base 257: all below 2⁵³, so that none loses a digit as a 64-bit float.
"""

from collections.abc import Sequence

_DIGITS = 6
_BASE = 257


def pieces(text: str) -> list[int]:
    """The text as numbers: of two texts, the first number that differs says which comes first.

    The last number holds the text's end, so no text's numbers begin another's.
    """
    digits = _digits(text)
    return [_number(digits[start : start + _DIGITS], 0) for start in range(0, len(digits) + 1, _DIGITS)]


def prefix_pieces(prefix: str) -> tuple[list[int], tuple[int, int]]:
    """What the numbers of all texts that begin so have in common: the first ones, and the least and the greatest value
    of the one after these.
    """
    digits = _digits(prefix)
    whole = len(digits) // _DIGITS * _DIGITS
    rest = digits[whole:]
    first = [_number(digits[start : start + _DIGITS], 0) for start in range(0, whole, _DIGITS)]
    return first, (_number(rest, 0), _number(rest, _BASE - 1))


def _digits(text: str) -> list[int]:
    return [byte + 1 for byte in text.encode()]


def _number(digits: Sequence[int], filler: int) -> int:
    number = 0
    for digit in [*digits, *[filler] * (_DIGITS - len(digits))]:
        number = number * _BASE + digit
    return number
