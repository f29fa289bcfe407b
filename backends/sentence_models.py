"""What the models of sentence-transformers have in common: loading one, and what they raise."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from backends.errors import BackendRejectedError, BackendUnavailableError


def load(kind: str, path: str, device: str, threads: int, setting: str) -> Any:
    """Load a ``SentenceTransformer`` or ``CrossEncoder``, as ``kind`` says, from a folder or the hub.

    Raises:
        BackendRejectedError: there is none; the message names the ``setting`` that says where.
    """
    # Importing these takes seconds, which only a process that has a model should spend.
    import sentence_transformers  # noqa: PLC0415
    import torch  # noqa: PLC0415
    from transformers.utils import logging  # noqa: PLC0415

    logging.disable_progress_bar()
    if threads:
        torch.set_num_threads(threads)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    make: Callable[..., Any] = getattr(sentence_transformers, kind)
    try:
        return make(path, device=device, local_files_only=Path(path).is_dir())
    except (OSError, ValueError) as error:
        msg = f"no model at {path!r} (setting {setting}): {error}"
        raise BackendRejectedError(msg) from error


@contextmanager
def translated(model: str) -> Iterator[None]:
    """Turn what a model raises on texts into the two errors that a stage decides by."""
    import torch  # noqa: PLC0415 - loaded by now

    try:
        yield
    except torch.OutOfMemoryError as error:
        msg = f"{model} has no memory left on its device"
        raise BackendUnavailableError(msg) from error
    except (TypeError, ValueError) as error:
        msg = f"{model} cannot read the text: {error}"
        raise BackendRejectedError(msg) from error
