"""Where Milvus is and how the collection of chunks is kept there."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from backends.stemming import LANGUAGES

IndexType = Literal["HNSW", "IVF_FLAT", "IVF_SQ8", "FLAT", "AUTOINDEX"]
Metric = Literal["COSINE", "IP", "L2"]

# Parameters that each index type is built with, and searched with.
BUILD_PARAMS: dict[IndexType, dict[str, int]] = {
    "HNSW": {"M": 16, "efConstruction": 200},
    "IVF_FLAT": {"nlist": 128},
    "IVF_SQ8": {"nlist": 128},
    "FLAT": {},
    "AUTOINDEX": {},
}
SEARCH_PARAMS: dict[IndexType, dict[str, int]] = {
    "HNSW": {"ef": 64},
    "IVF_FLAT": {"nprobe": 16},
    "IVF_SQ8": {"nprobe": 16},
    "FLAT": {},
    "AUTOINDEX": {},
}


class MilvusSettings(BaseModel):
    """Where Milvus is and how the collection is kept; what is said of its index holds for new collections."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    uri: str = Field("", description="Address of Milvus; empty takes the local stack's.")
    token: SecretStr | None = Field(None, description="user:password or API key, where Milvus asks for one.")
    collection: str = Field("ragline", description="Alias of the collection that holds the chunks.")
    index_type: IndexType = Field("HNSW", description="Milvus index type of the vectors.")
    index_params: dict[str, int] = Field(
        default_factory=dict, description="How densely the index is built: M and efConstruction (HNSW), nlist (IVF)."
    )
    search_params: dict[str, int] = Field(
        default_factory=dict, description="How thoroughly it is searched: ef (HNSW), nprobe (IVF)."
    )
    metric: Metric = Field(
        "COSINE", description="Distance the index compares by; of unit vectors all give the same order and scores."
    )
    keyword_search: bool = Field(
        True,  # noqa: FBT003 - pydantic takes the default so
        description="Whether chunks are searched by words too; off for a Milvus before 2.5, which knows no BM25.",
    )
    language: str = Field(
        "english", description="Language whose word endings keyword search ignores (Snowball's name of it)."
    )
    bm25_k1: float = Field(1.2, gt=0, le=3, description="How much repeated words count in keyword search.")
    bm25_b: float = Field(0.75, ge=0, le=1, description="How much keyword search prefers short chunks.")
    consistency_level: Literal["Strong", "Session", "Bounded", "Eventually"] = Field(
        "Strong", description="What a search sees: Strong everything written before it, Eventually whatever is there."
    )
    tenant_partitions: int = Field(
        16, gt=0, le=1_024, description="Partitions the tenants are spread over; a search touches one of them."
    )
    shards: int = Field(1, gt=0, le=16, description="Shards of the collection; Milvus Lite knows one.")
    replicas: int = Field(1, gt=0, description="Copies in the memory of a cluster's query nodes.")
    timeout_ms: int = Field(10_000, gt=0, description="Longest wait for one call.")

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.language not in LANGUAGES:
            msg = f"language is {self.language!r}, but known are {', '.join(LANGUAGES)}"
            raise ValueError(msg)
        # In 2.3.5 what is updated goes to a partition that searches of its tenant do not look at.
        if not self.keyword_search and self.tenant_partitions > 1:
            msg = "tenant_partitions must be 1 without keyword_search: Milvus 2.3 loses updates among several"
            raise ValueError(msg)
        for name, given, known in (
            ("index_params", self.index_params, BUILD_PARAMS[self.index_type]),
            ("search_params", self.search_params, SEARCH_PARAMS[self.index_type]),
        ):
            for param, value in given.items():
                if param not in known:
                    msg = f"{name} has {param}, but {self.index_type} knows {', '.join(known) or 'none'}"
                    raise ValueError(msg)
                if value <= 0:
                    msg = f"{name}.{param} must be greater than 0"
                    raise ValueError(msg)
        return self

    @property
    def stems_in(self) -> str | None:
        """Language of the words that the collection keeps; None without keyword search."""
        return self.language if self.keyword_search else None

    @property
    def built_with(self) -> dict[str, int]:
        """Parameters the index is built with."""
        return BUILD_PARAMS[self.index_type] | self.index_params

    def searched_with(self, limit: int) -> dict[str, int]:
        """Parameters of a search for ``limit`` chunks. HNSW needs ``ef`` of at least that, and gains from more."""
        params = SEARCH_PARAMS[self.index_type] | self.search_params
        return params | {"ef": max(params["ef"], 2 * limit)} if "ef" in params else params
