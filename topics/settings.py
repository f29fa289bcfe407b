"""Settings of topics."""

from pydantic import BaseModel, ConfigDict, Field


class TopicSettings(BaseModel):
    """What a cluster decides about topics."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    partitions: int = Field(6, gt=0, description="Partitions per topic: how far a stage scales.")
    replication_factor: int = Field(1, gt=0, description="Copies of each partition.")
