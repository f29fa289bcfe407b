"""The transformer of an embedding model as an exported graph, in ONNX Runtime or OpenVINO.

Tokenizer, pooling and what else belongs to the model stay sentence-transformers': vectors differ by rounding only.
"""

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from backends.embedder import EmbedderBackend, EmbedderSettings
from backends.errors import BackendRejectedError

# Token IDs, attention mask and so on by name, each (n, tokens) int64, to token vectors (n, tokens, d) float32.
RunGraph: TypeAlias = Callable[[Mapping[str, NDArray[np.int64]]], NDArray[np.float32]]

# What the extras of the same names install: to run a graph, and to make it.
_PACKAGES: Mapping[EmbedderBackend, tuple[str, ...]] = {
    "torch": (),
    "onnx": ("onnxruntime", "onnx", "onnxscript"),
    "openvino": ("openvino", "onnx", "onnxscript"),
}
# An exported graph that does not compute what the model computes is far below; quantisation costs some hundredths.
_LEAST_COSINE = 0.9
_SAMPLES = [
    "Who robbed the bank?",
    "The bank was robbed by a man in a grey coat, who left by the back door and was never seen again.",
    "x",
]


def check_installed(backend: EmbedderBackend) -> None:
    """Raise a BackendRejectedError if packages of a backend are missing; it says what to install."""
    if any(importlib.util.find_spec(package) is None for package in _PACKAGES[backend]):
        msg = f"embedder.backend is {backend}, which is not installed; install ragline with the extra {backend!r}"
        raise BackendRejectedError(msg)


def open_graph(file: Path, settings: EmbedderSettings) -> RunGraph:
    """Load an ONNX file into the backend of the settings.

    Raises:
        BackendRejectedError: the file cannot be run.
    """
    try:
        return _OPENERS[settings.backend](file, settings)
    # Each library has errors of its own, without a common base.
    except Exception as error:
        msg = f"{settings.backend} cannot run {file}; delete its folder to have it made again: {error}"
        raise BackendRejectedError(msg) from error


def run_instead(loaded: Any, run: RunGraph, name: str) -> None:
    """Let a ``SentenceTransformer`` compute with ``run`` in the place of its transformer.

    Raises:
        BackendRejectedError: the vectors of some texts are not those of the transformer.
    """
    before = _sample_vectors(loaded)
    loaded[0].model = _as_module(run, loaded[0].model.config)
    after = _sample_vectors(loaded)
    cosine = float((before * after).sum(axis=1).min())
    if not cosine >= _LEAST_COSINE:
        msg = f"{name} as an exported graph gives other vectors (cosine {cosine:.3f}); use the backend torch for it"
        raise BackendRejectedError(msg)


def _sample_vectors(loaded: Any) -> NDArray[np.float32]:
    vectors = loaded.encode(_SAMPLES, prompt="", normalize_embeddings=True, show_progress_bar=False)
    return np.asarray(vectors, dtype=np.float32)


def _as_module(run: RunGraph, config: Any) -> Any:
    import torch  # noqa: PLC0415 - loaded by now

    class ExportedTransformer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.config = config

        def forward(self, **features: Any) -> dict[str, torch.Tensor]:
            given = {name: value.numpy() for name, value in features.items() if isinstance(value, torch.Tensor)}
            return {"last_hidden_state": torch.from_numpy(run(given))}

    return ExportedTransformer()


def _open_onnx(file: Path, settings: EmbedderSettings) -> RunGraph:
    import onnxruntime  # noqa: PLC0415 - an extra

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = settings.threads
    # Between two batches its threads would turn in circles on cores that others need.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]
    outputs = [session.get_outputs()[0].name]
    return lambda features: session.run(outputs, {name: features[name] for name in names})[0]


def _open_openvino(file: Path, settings: EmbedderSettings) -> RunGraph:
    import openvino  # noqa: PLC0415 - an extra

    options = {
        "INFERENCE_NUM_THREADS": settings.threads,
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[settings.precision],
        # Several workers would sit on the same core.
        "ENABLE_CPU_PINNING": False,
    }
    compiled = openvino.Core().compile_model(str(file), "CPU", options)
    names = [entry.get_any_name() for entry in compiled.inputs]
    request = compiled.create_infer_request()
    return lambda features: request.infer({name: features[name] for name in names})[0]


_OPENERS: Mapping[EmbedderBackend, Callable[[Path, EmbedderSettings], RunGraph]] = {
    "onnx": _open_onnx,
    "openvino": _open_openvino,
}
