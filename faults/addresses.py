"""Where the systems outside are, as workers are told."""

from pydantic import BaseModel, ConfigDict

from backends.live_view import LiveViewSettings
from backends.milvus_settings import MilvusSettings

_COLLECTION = "faults"


class Addresses(BaseModel):
    """Addresses of Milvus and Valkey; ``model`` is the folder of the tokenizer that counts prompts.

    No call waits for long: a system that is away is to be noticed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    milvus_uri: str
    redis_url: str
    model: str

    @property
    def vector_store(self) -> MilvusSettings:
        """Of a client of Milvus."""
        return MilvusSettings(uri=self.milvus_uri, collection=_COLLECTION, timeout_ms=3_000)

    @property
    def live_view(self) -> LiveViewSettings:
        """Of a client of Valkey."""
        return LiveViewSettings(url=self.redis_url, timeout_ms=3_000)
