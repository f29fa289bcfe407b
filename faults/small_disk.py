"""A disk of a few hundred MiB, in memory, that can be filled up. Needs the right to mount."""

import errno
import subprocess
from pathlib import Path
from typing import Self

from topics.specs import MIB

# Kafka's empty index files take no room; its records of one campaign take about a tenth of this.
_SIZE_MIB = 768


class SmallDisk:
    """A tmpfs, mounted where it is wanted."""

    def __init__(self) -> None:
        self._folder: Path | None = None

    @classmethod
    def probe(cls, scratch: Path) -> Self | None:
        """A disk, or None where this process may not mount one; ``scratch`` is an empty folder to try it on."""
        disk = cls()
        try:
            disk.mount(scratch)
        except (OSError, subprocess.CalledProcessError):
            return None
        disk.unmount()
        return disk

    def mount(self, folder: Path) -> None:
        """Put the empty disk there.

        Raises:
            subprocess.CalledProcessError: the system does not allow it.
        """
        folder.mkdir(parents=True, exist_ok=True)
        options = ["-t", "tmpfs", "-o", f"size={_SIZE_MIB}m", "tmpfs"]
        subprocess.run(["mount", *options, str(folder)], check=True, capture_output=True)  # noqa: S603, S607 - our own
        self._folder = folder

    def unmount(self) -> None:
        """Throw the disk away."""
        if self._folder is not None:
            subprocess.run(["umount", "--lazy", str(self._folder)], check=False, capture_output=True)  # noqa: S603, S607
            self._folder = None

    def fill(self) -> None:
        """Write until there is no room left."""
        block = bytes(MIB)
        with self._filler.open("wb", buffering=0) as filler:
            try:
                while True:
                    filler.write(block)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise

    def free(self) -> None:
        """Make room again."""
        self._filler.unlink(missing_ok=True)

    @property
    def _filler(self) -> Path:
        assert self._folder is not None  # noqa: S101 - mounted before
        return self._folder / "filler"
