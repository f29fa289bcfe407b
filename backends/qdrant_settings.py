"""Where Qdrant is and how the collection of chunks is kept there."""

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from backends.stemming import LANGUAGES


class QdrantSettings(BaseModel):
    """Where Qdrant is, a server or a folder, and how the collection is kept; what is said of its index holds for new
    collections, what is said of its words for chunks written from then on.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field("", description="Address of a Qdrant server, such as http://127.0.0.1:6333.")
    path: Path | None = Field(
        None, description="Folder of an embedded Qdrant, in place of a server: for one process at a time."
    )
    api_key: SecretStr | None = Field(None, description="API key, where the server asks for one.")
    collection: str = Field("ragline", min_length=1, description="Collection that holds the chunks.")
    hnsw_m: int = Field(16, ge=4, le=2_048, description="Links of each vector in the HNSW index.")
    hnsw_ef_construct: int = Field(200, ge=4, description="How thoroughly the index is built.")
    hnsw_ef: int = Field(64, gt=0, description="How thoroughly it is searched; at least twice what is searched for.")
    language: str = Field(
        "english", description="Language whose word endings keyword search ignores (Snowball's name of it)."
    )
    bm25_k1: float = Field(1.2, gt=0, le=3, description="How much repeated words count in keyword search.")
    bm25_b: float = Field(0.75, ge=0, le=1, description="How much keyword search prefers short chunks.")
    bm25_average_words: int = Field(
        150, gt=0, description="Words of an ordinary chunk, which is neither short nor long for keyword search."
    )
    timeout_ms: int = Field(10_000, gt=0, description="Longest wait for one call, in whole seconds or rounded up.")

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.url and self.path:
            msg = "url is of a server and path of an embedded Qdrant: set one of them"
            raise ValueError(msg)
        if self.language not in LANGUAGES:
            msg = f"language is {self.language!r}, but known are {', '.join(LANGUAGES)}"
            raise ValueError(msg)
        return self

    @property
    def place(self) -> str:
        """Where it is, for people."""
        return str(self.path) if self.path else self.url
