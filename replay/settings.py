"""Settings of replay and evaluation."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class ReplaySettings(BaseModel):
    """Where runs are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    runs_folder: Path = Field(Path(".ragline/runs"), description="Folder that runs are written to and found in.")
