"""What the models of sentence-transformers have in common: loading one, and what they raise."""

from collections.abc import Callable, Iterator, Sequence
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


def halve(loaded: Any) -> None:
    """Let the transformer of a ``SentenceTransformer`` compute in bfloat16, and what follows it in float32."""
    import torch  # noqa: PLC0415 - loaded by now

    def widen(_module: Any, _given: Any, features: dict[str, Any]) -> dict[str, Any]:
        return {
            name: value.float() if isinstance(value, torch.Tensor) and value.is_floating_point() else value
            for name, value in features.items()
        }

    loaded[0].to(torch.bfloat16)
    loaded[0].register_forward_hook(widen)


def read_up_to(loaded: Any, max_tokens: int) -> None:
    """Let a ``SentenceTransformer`` read so many tokens of a text, as far as its positions go: its own limit is often
    lower, being that of the texts whose one vector it was trained for. One that is no transformer stays as it is.
    """
    transformer = getattr(loaded[0], "auto_model", None)
    if transformer is None:
        return
    positions = getattr(transformer.config, "max_position_embeddings", None) or loaded.max_seq_length or max_tokens
    # RoBERTa and its kin count positions from behind that of padding.
    padding = getattr(getattr(transformer, "embeddings", None), "padding_idx", None)
    loaded.max_seq_length = min(max_tokens, positions if padding is None else positions - padding - 1)


def token_counts(loaded: Any, texts: Sequence[str]) -> list[int]:
    """Tokens that the model reads of each text; characters, where its tokenizer is not one of transformers'."""
    tokenizer = loaded.tokenizer
    if not callable(tokenizer):
        return [len(text) for text in texts]
    tokens = tokenizer(
        list(texts), truncation=True, padding=False, return_attention_mask=False, return_token_type_ids=False
    )
    return [len(ids) for ids in tokens["input_ids"]]


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
