"""A disk of a few hundred MiB, in memory, that can be filled up. Needs the right to mount."""

import ctypes
import errno
import os
import subprocess
from pathlib import Path

from topics.specs import MIB

# Kafka's empty index files take no room; its records of one campaign take about a tenth of this.
_SIZE_MIB = 768
# linux/sched.h
_CLONE_NEWNS = 0x00020000


class SmallDisk:
    """A tmpfs, mounted where it is wanted."""

    def __init__(self) -> None:
        self._folder: Path | None = None

    def mount(self, folder: Path) -> None:
        """Put the empty disk there.

        Raises:
            subprocess.CalledProcessError: the system does not allow it.
        """
        folder.mkdir(parents=True, exist_ok=True)
        _mount("-t", "tmpfs", "-o", f"size={_SIZE_MIB}m", "tmpfs", str(folder))
        self._folder = folder

    def unmount(self) -> None:
        """Throw the disk away."""
        if self._folder is not None:
            subprocess.run(["umount", "--lazy", str(self._folder)], check=True, capture_output=True)  # noqa: S603, S607
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


def mount_privately() -> bool:
    """Let what this process mounts from now on be seen by it and its children only, and go with them.

    To be called before there is a second thread. Gives False where this user may not mount.
    """
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNS) != 0:
        return False
    try:
        # Else a mount would still spread to the namespace that this one was copied from.
        _mount("--make-rprivate", "/")
    except (OSError, subprocess.CalledProcessError):
        return False
    return os.geteuid() == 0


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)  # noqa: S603, S607 - the system's own
