"""What the processes of the benchmark of embedding are told, and the texts that they embed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict

from backends.embedder import EmbedderBackend, EmbedderPrecision
from infra.local.models import embedder_path
from ragline.settings import Settings
from replay.beir import read_documents, read_queries
from workers.chunk_embedding import MAX_TITLE_CHARS

T = TypeVar("T")

Part: TypeAlias = Literal["questions", "chunks"]
PARTS: tuple[Part, ...] = ("questions", "chunks")


class Variant(NamedTuple):
    """What computes, and in what."""

    backend: EmbedderBackend
    precision: EmbedderPrecision = "float32"

    @property
    def name(self) -> str:
        """As figures and the command line say it."""
        return self.backend if self.precision == "float32" else f"{self.backend}_{self.precision}"


REFERENCE = Variant("torch")
VARIANTS = {
    variant.name: variant
    for variant in (
        REFERENCE,
        Variant("torch", "bfloat16"),
        Variant("onnx"),
        Variant("onnx", "int8"),
        Variant("openvino"),
        Variant("openvino", "bfloat16"),
    )
}


class EmbedOptions(BaseModel):
    """One process: ``raw`` encodes the texts of a file, ``worker`` runs the stages on a broker."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["raw", "worker"]
    variant: Variant
    device: str
    threads: int
    data_dir: Path
    texts: Path
    bootstrap_servers: str = ""
    namespace: str = ""

    @property
    def settings(self) -> Settings:
        """The pipeline's own settings, but for what is said here."""
        return settings_for(self.variant, self.device, self.threads, self.data_dir).model_copy(
            update={
                "namespace": self.namespace,
                "kafka": Settings().kafka.model_copy(update={"bootstrap_servers": self.bootstrap_servers}),
            }
        )


class Texts(NamedTuple):
    """``chunks`` are context and text, which are embedded together."""

    questions: list[str]
    chunks: list[tuple[str, str]]

    def of(self, part: Part) -> list[str]:
        """What the model reads."""
        return self.questions if part == "questions" else [joined(*chunk) for chunk in self.chunks]


def settings_for(variant: Variant, device: str, threads: int, data_dir: Path) -> Settings:
    """Settings of an embedder."""
    embedder = {
        "path": str(embedder_path()),
        "backend": variant.backend,
        "precision": variant.precision,
        "device": device,
        "threads": threads,
    }
    return Settings.model_validate({"embedder": embedder, "local": {"data_dir": data_dir}})


def joined(context: str, text: str) -> str:
    """Context and text as the chunk-embedding stage joins them."""
    return f"{context}\n\n{text}" if context else text


def sample(data: Path, questions: int, chunks: int) -> Texts:
    """So many questions and abstracts of a data set in BEIR's form, from the beginning; from there again if it has
    fewer.

    Raises:
        DataError: the folder holds no such data set.
    """
    documents = [(document.title[:MAX_TITLE_CHARS].strip(), document.text) for _, document in read_documents(data)]
    return Texts(_repeated(list(read_queries(data).values()), questions), _repeated(documents, chunks))


def write(texts: Texts, file: Path) -> None:
    """Put texts into a file for the raw process."""
    file.write_bytes(orjson.dumps({part: texts.of(part) for part in PARTS}))


def _repeated(items: Sequence[T], count: int) -> list[T]:
    return [items[number % len(items)] for number in range(count)]
