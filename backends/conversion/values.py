"""What a conversion gives."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

ConversionCode: TypeAlias = Literal["unsupported", "damaged", "encrypted", "empty", "too_large", "too_slow", "busy"]


class ConversionError(Exception):
    """The file cannot be made into text. ``code`` is for programs; the message is one sentence for people."""

    def __init__(self, code: ConversionCode, message: str) -> None:
        super().__init__(message)
        self.code: ConversionCode = code


@dataclass(frozen=True, slots=True)
class Converted:
    """A file as text: Markdown where the file has structure. ``title`` is what the file calls itself, or empty;
    ``page_starts`` says at which character each page begins, of a file that has pages.
    """

    text: str
    title: str = ""
    page_starts: tuple[int, ...] = ()
