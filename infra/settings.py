"""Settings of the local stack."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class LocalSettings(BaseModel):
    """Where the local stack keeps its data and listens. All servers bind to loopback."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data_dir: Path = Field(Path(".ragline"), description="Folder for data, models, jars and logs.")
    kafka_port: int = Field(9092, gt=0, le=65535, description="Port of the Kafka broker.")
    kafka_controller_port: int = Field(9093, gt=0, le=65535, description="Port of the KRaft controller.")
    milvus_port: int = Field(19530, gt=0, le=65535, description="Port of Milvus Lite.")
    redis_port: int = Field(6379, gt=0, le=65535, description="Port of Valkey.")
    worker_port: int = Field(9400, gt=0, le=65535, description="First port of the workers' HTTP pages.")
    start_timeout_s: int = Field(300, gt=0, description="Longest wait for a process to become ready, in seconds.")
    min_free_disk_mib: int = Field(2_048, gt=0, description="Free disk below which nothing is started, in MiB.")
