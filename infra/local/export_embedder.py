"""Export the transformer of an embedding model: ``python -m infra.local.export_embedder MODEL FOLDER float32|int8``.

It becomes ``model.onnx`` in the folder, which ONNX Runtime and OpenVINO read.
"""

import inspect
import sys
from pathlib import Path
from typing import Any

GRAPH_FILE = "model.onnx"
# Two lengths, so that neither size is taken for a constant.
_EXAMPLES = ["a text", "another text that is longer than the first"]


def export(model: Path, folder: Path, *, int8: bool) -> None:
    """Write the graph: token IDs and masks, (n, tokens) int64, to token vectors, (n, tokens, d) float32. With ``int8``
    the weights of its matrices are quantised, each column for itself; its activations are when it runs.

    Raises:
        ValueError: the model is no plain transformer.
    """
    import torch  # noqa: PLC0415 - heavy, and only this program needs it
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415

    loaded = SentenceTransformer(str(model), device="cpu", local_files_only=True)
    transformer = getattr(loaded[0], "model", None)
    if transformer is None:
        msg = f"the first module of {model} is no transformer that could be exported; use the backend torch for it"
        raise ValueError(msg)
    transformer = transformer.float().eval()
    accepted = inspect.signature(transformer.forward).parameters
    features = {
        name: value
        for name, value in loaded.preprocess(_EXAMPLES).items()
        if name in accepted and isinstance(value, torch.Tensor)
    }
    size = {0: torch.export.Dim("batch"), 1: torch.export.Dim("tokens")}
    graph = folder / ("float32.onnx" if int8 else GRAPH_FILE)
    torch.onnx.export(
        _token_vectors(transformer, list(features)),
        tuple(features.values()),
        str(graph),
        input_names=list(features),
        output_names=["last_hidden_state"],
        dynamic_shapes=(tuple(size for _ in features),),
        dynamo=True,
        verbose=False,
    )
    if int8:
        _quantise(graph, folder / GRAPH_FILE)


def _token_vectors(transformer: Any, names: list[str]) -> Any:
    import torch  # noqa: PLC0415

    class TokenVectors(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.transformer = transformer

        def forward(self, *features: torch.Tensor) -> torch.Tensor:
            output: torch.Tensor = self.transformer(**dict(zip(names, features, strict=True))).last_hidden_state
            return output

    return TokenVectors()


def _quantise(graph: Path, quantised: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic  # noqa: PLC0415 - an extra

    quantize_dynamic(graph, quantised, weight_type=QuantType.QInt8, per_channel=True)
    # Large weights are in a file beside it.
    for part in graph.parent.glob(f"{graph.name}*"):
        part.unlink()


def main() -> None:
    """Export what the command line names."""
    model, folder, precision = sys.argv[1:]
    export(Path(model), Path(folder), int8=precision == "int8")


if __name__ == "__main__":
    main()
