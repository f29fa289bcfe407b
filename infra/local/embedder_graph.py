"""Exported embedding models: where they are, and how they get there."""

import sys
from pathlib import Path

from backends.embedder import EmbedderSettings
from backends.model_files import fingerprint
from infra.local.export_embedder import GRAPH_FILE
from infra.local.folders import whole_folder
from infra.local.report import LocalStackError, Report
from infra.local.step import run_step

# Part of the folder's name: what an older version exported otherwise is not used.
_FORMAT = 1
_NAME_DIGITS = 12


def prepare_graph(data_dir: Path, model: Path, settings: EmbedderSettings, report: Report) -> Path:
    """The graph of the model in the folder ``model``, exported if that was not done yet: an ONNX file.

    Another process that exports the same is waited for. A model whose files have changed is another one.

    Raises:
        LocalStackError: the export failed, or the folder cannot be written.
    """
    # OpenVINO makes bfloat16 of it when it loads it.
    precision = "int8" if settings.precision == "int8" else "float32"
    try:
        name = f"embedder-{fingerprint(model)[:_NAME_DIGITS]}-{precision}-{_FORMAT}"
        target = data_dir.absolute() / "models" / name
        with whole_folder(target, report) as partial:
            if partial:
                _export(model, partial, precision, settings.model, report)
    except OSError as error:
        msg = f"{settings.model} cannot be exported below {data_dir.absolute()} (setting local.data_dir): {error}"
        raise LocalStackError(msg) from error
    return target / GRAPH_FILE


def _export(model: Path, folder: Path, precision: str, name: str, report: Report) -> None:
    run_step(
        [sys.executable, "-W", "ignore", "-m", "infra.local.export_embedder", str(model), str(folder), precision],
        title=f"exporting model {name} as {precision}, about a quarter of a minute",
        report=report,
        env={"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "TRANSFORMERS_VERBOSITY": "error"},
    )
