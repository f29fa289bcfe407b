import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from backends.embedder import EmbedderSettings
from infra.local import embedder_graph
from infra.local.embedder_graph import prepare_graph
from infra.local.report import LocalStackError

ONNX = EmbedderSettings(backend="onnx")


def silent(_: str) -> None:
    return


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights").write_bytes(b"1")
    return folder


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Precisions, as they are exported."""
    precisions: list[str] = []

    def run_step(argv: Sequence[str], **_: object) -> None:
        *_rest, folder, precision = argv
        precisions.append(precision)
        Path(folder, "model.onnx").write_text(precision)

    monkeypatch.setattr(embedder_graph, "run_step", run_step)
    return precisions


def test_a_model_is_exported_once_for_each_precision(tmp_path: Path, model: Path, exported: list[str]) -> None:
    first = prepare_graph(tmp_path, model, ONNX, silent)
    assert first.read_text() == "float32"
    assert prepare_graph(tmp_path, model, ONNX, silent) == first
    openvino = EmbedderSettings(backend="openvino", precision="bfloat16")
    assert prepare_graph(tmp_path, model, openvino, silent) == first
    assert prepare_graph(tmp_path, model, EmbedderSettings(backend="onnx", precision="int8"), silent) != first
    assert exported == ["float32", "int8"]


def test_a_model_whose_files_changed_is_exported_again(tmp_path: Path, model: Path, exported: list[str]) -> None:
    first = prepare_graph(tmp_path, model, ONNX, silent)
    (model / "weights").write_bytes(b"2")
    assert prepare_graph(tmp_path, model, ONNX, silent) != first
    assert len(exported) == 2


def test_workers_that_start_at_once_export_once(tmp_path: Path, model: Path, exported: list[str]) -> None:
    together = threading.Barrier(4)

    def work() -> Path:
        together.wait(10)
        return prepare_graph(tmp_path, model, ONNX, silent)

    with ThreadPoolExecutor(4) as threads:
        files = {future.result(30) for future in [threads.submit(work) for _ in range(4)]}
    assert len(files) == 1
    assert exported == ["float32"]


@pytest.mark.usefixtures("exported")
def test_one_that_ends_half_way_leaves_nothing_to_be_used(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(argv: Sequence[str], **_: object) -> None:
        Path(argv[-2], "model.onnx").write_text("half")
        raise LocalStackError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(embedder_graph, "run_step", die)
        with pytest.raises(LocalStackError, match="killed"):
            prepare_graph(tmp_path, model, ONNX, silent)
    assert prepare_graph(tmp_path, model, ONNX, silent).read_text() == "float32"


@pytest.mark.usefixtures("exported")
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, model: Path) -> None:
    (tmp_path / "models").write_text("a file is in the way")
    with pytest.raises(LocalStackError, match=r"cannot be exported below .*local\.data_dir"):
        prepare_graph(tmp_path, model, ONNX, silent)
