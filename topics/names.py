"""Namespaces: a prefix before topic, group and key names isolates one pipeline from another on one cluster."""

import re
from dataclasses import dataclass

from topics.specs import TopicSpec

_ALLOWED = re.compile(r"[A-Za-z0-9_-]{0,64}")


@dataclass(frozen=True, slots=True)
class Namespace:
    """Maps the names of this project to those on the cluster. The empty prefix changes nothing.

    Raises:
        ValueError: the prefix has characters other than letters, digits, ``_`` and ``-``, or over 64 of them.
    """

    prefix: str = ""

    def __post_init__(self) -> None:
        if not _ALLOWED.fullmatch(self.prefix):
            msg = f"namespace {self.prefix!r} may hold only letters, digits, _ and - (64 at most)"
            raise ValueError(msg)

    def topic(self, spec: TopicSpec) -> str:
        """The topic's name on the cluster."""
        return self.of(spec.name)

    def group(self, stage: str) -> str:
        """The consumer group's name on the cluster."""
        return self.of(f"ragline.{stage}")

    def of(self, name: str) -> str:
        """``name`` in this namespace."""
        return f"{self.prefix}.{name}" if self.prefix else name
