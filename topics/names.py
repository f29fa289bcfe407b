"""Namespaces: a prefix before topic, group and key names isolates one pipeline from another on one cluster."""

import re
from dataclasses import dataclass, replace
from typing import Self

from topics.specs import TopicSpec

_ALLOWED = re.compile(r"[A-Za-z0-9_-]{0,64}")
# Where each version of the index has a group of its own.
INGEST_STAGES = ("chunking", "chunk-embedding", "indexing")


@dataclass(frozen=True, slots=True)
class Namespace:
    """Maps the names of this project to those on the cluster. The empty prefix changes nothing.

    ``index_version`` says which version of the index is meant; the first one's names are the plain ones.

    Raises:
        ValueError: the prefix has characters other than letters, digits, ``_`` and ``-``, or over 64 of them.
    """

    prefix: str = ""
    index_version: int = 1

    def __post_init__(self) -> None:
        if not _ALLOWED.fullmatch(self.prefix):
            msg = f"namespace {self.prefix!r} may hold only letters, digits, _ and - (64 at most)"
            raise ValueError(msg)

    def topic(self, spec: TopicSpec) -> str:
        """The topic's name on the cluster."""
        return self._of_version(self.of(spec.name)) if spec.per_index else self.of(spec.name)

    def group(self, stage: str) -> str:
        """The consumer group's name on the cluster."""
        group = self.of(f"ragline.{stage}")
        return self._of_version(group) if stage in INGEST_STAGES else group

    def of(self, name: str) -> str:
        """``name`` in this namespace."""
        return f"{self.prefix}.{name}" if self.prefix else name

    def of_index(self, version: int) -> Self:
        """The same namespace, for this version of the index."""
        return replace(self, index_version=version)

    def _of_version(self, name: str) -> str:
        return name if self.index_version == 1 else f"{name}.v{self.index_version}"
