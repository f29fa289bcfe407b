"""How a client of Qdrant is made: of a server, or of the embedded one, whose folder one process may open at a time."""

import fcntl
import os
from pathlib import Path

from qdrant_client import QdrantClient

from backends.errors import BackendRejectedError
from backends.qdrant_settings import QdrantSettings

_LOCK = "ragline.lock"
_MILLISECONDS = 1_000


class QdrantConnection:
    """A client, and the lock on its folder where it is the embedded Qdrant.

    Raises:
        BackendRejectedError: the folder is open elsewhere.
    """

    def __init__(self, settings: QdrantSettings) -> None:
        self._lock = _locked(settings.path) if settings.path else None
        try:
            self.client = _client(settings)
        except BaseException:
            self._unlock()
            raise

    def close(self) -> None:
        """Let go of the connection, or of the folder."""
        self.client.close()
        self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _client(settings: QdrantSettings) -> QdrantClient:
    if settings.path:
        # Its caller sees to it that one thread at a time calls.
        return QdrantClient(path=str(settings.path), force_disable_check_same_thread=True)
    return QdrantClient(
        url=settings.url,
        api_key=settings.api_key.get_secret_value() if settings.api_key else None,
        timeout=-(-settings.timeout_ms // _MILLISECONDS),
        # It would ask the server in a thread, and warn of versions that differ, at each start.
        check_compatibility=False,
    )


def _locked(folder: Path) -> int:
    """Hold the folder until the descriptor is closed. Qdrant's own lock comes after it has read all there is."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        msg = (
            f"the embedded Qdrant in {folder} is open already, and can be open only once: close what holds it, or run "
            "a Qdrant server (qdrant.url), which several workers share"
        )
        raise BackendRejectedError(msg) from error
    return descriptor
