"""The manifest of a run: what it was made from and with, and which files belong to it."""

import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationError

from replay.run_folder.errors import RunError

FILE = "manifest.json"
# Readers refuse a format with a higher number; what is only added needs no new one.
FORMAT = 1

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}")
_PART = re.compile(r"(requests|passages|answers|stamps)/part-\d{6}\.parquet")


def check_name(name: str) -> str:
    """Give back a name that a run can have.

    Raises:
        RunError: it has other characters than letters, digits, ``_`` and ``-``, or more than 64.
    """
    if not _NAME.fullmatch(name):
        raise RunError(
            f"a run cannot be named {name!r}: take letters, digits, _ and -, 64 at most, and none of - in front"
        )
    return name


def _inside(file: str) -> str:
    if not _PART.fullmatch(file):
        raise ValueError("no file of a run")
    return file


class Part(BaseModel):
    """A Parquet file of the run, by its path in the folder."""

    model_config = ConfigDict(frozen=True, extra="allow")

    file: Annotated[str, AfterValidator(_inside)]
    rows: int


class RunSource(BaseModel):
    """Where the run's requests come from. ``offsets`` has first and end (exclusive) by partition.

    ``selection`` says which records between them: what was asked for at the command line.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    topic: str
    offsets: dict[int, tuple[int, int]] = Field(default_factory=dict)
    selection: dict[str, JsonValue] = Field(default_factory=dict)


class Manifest(BaseModel):
    """A run's manifest. Until ``state`` is ``complete`` a run may grow; its maker goes on at ``position``. ``stages``
    are those that a replay runs; a run that was recorded or asked has none.
    """

    # What a later version wrote is kept when this one writes.
    model_config = ConfigDict(frozen=True, extra="allow")

    format: int = FORMAT
    name: str
    created_at: datetime = Field(default_factory=lambda: datetime.now(UTC))
    finished_at: datetime | None = None
    state: Literal["partial", "complete"] = "partial"
    ragline_version: str = ""
    source: RunSource | None = None
    stages: tuple[str, ...] = ()
    settings: dict[str, JsonValue] = Field(default_factory=dict)
    position: dict[str, JsonValue] = Field(default_factory=dict)
    parts: dict[str, tuple[Part, ...]] = Field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the manifest of a run's folder.

        Raises:
            RunError: there is none, it is damaged, or a later version wrote it in a format of its own.
        """
        path = folder / FILE
        try:
            manifest = cls.model_validate_json(path.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            raise RunError(f"{folder} is no run: it has no {FILE}") from None
        except OSError as error:
            raise RunError(f"{path} cannot be read: {error.strerror}") from None
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in problem["loc"])
            raise RunError(f"{path} is damaged: {where or 'it'}: {problem['msg']}") from None
        if manifest.format > FORMAT:
            raise RunError(f"{path} has format {manifest.format}, this ragline reads up to {FORMAT}; take a newer one")
        return manifest

    def write(self, folder: Path) -> None:
        """Put this in the place of the folder's manifest, all of it or nothing.

        Raises:
            OSError: the disk is full, or the folder cannot be written to.
        """
        temporary = folder / f".{FILE}"
        with temporary.open("wb") as file:
            file.write(self.model_dump_json(indent=2).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(folder / FILE)
        sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Make what was created and renamed in a folder last."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
