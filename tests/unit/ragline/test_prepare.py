from pathlib import Path

import pytest

from backends.embedder import EmbedderSettings
from backends.engine import EngineSettings
from backends.kafka import KafkaSettings
from infra.local.report import LocalStackError, Report
from infra.settings import LocalSettings
from ragline import prepare as module
from ragline.prepare import main, prepare
from ragline.settings import Settings


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was prepared, in order."""
    made: list[str] = []
    monkeypatch.setattr(module, "prepare_jars", lambda folder, _: made.append(f"jars in {folder}"))
    monkeypatch.setattr(module, "prepare_models", lambda folder, _: made.append(f"models in {folder}"))
    monkeypatch.setattr(
        module, "prepare_graph", lambda folder, model, *_: made.append(f"graph of {model.name} in {folder}")
    )
    monkeypatch.setattr(module.signal, "signal", lambda *_: None)
    return made


def ignore(_: str) -> None: ...


def test_everything_local_is_prepared_in_the_data_folder(made: list[str], tmp_path: Path) -> None:
    prepare(Settings(local=LocalSettings(data_dir=tmp_path)), ignore)
    assert made == [f"jars in {tmp_path}", f"models in {tmp_path}"]


def test_the_embedder_is_exported_for_a_backend_that_needs_it(made: list[str], tmp_path: Path) -> None:
    model = tmp_path / "mine"
    model.mkdir()
    for path in (str(model), "sentence-transformers/on-the-hub"):
        prepare(
            Settings(
                kafka=KafkaSettings(bootstrap_servers="kafka:9092"),
                engine=EngineSettings(kind="openai"),
                embedder=EmbedderSettings(backend="onnx", path=path),
                local=LocalSettings(data_dir=tmp_path),
            ),
            ignore,
        )
    assert made == [f"graph of mine in {tmp_path}"]


def test_what_is_elsewhere_is_not_prepared(made: list[str]) -> None:
    prepare(Settings(kafka=KafkaSettings(bootstrap_servers="kafka:9092"), engine=EngineSettings(kind="openai")), ignore)
    prepare(
        Settings(kafka=KafkaSettings(bootstrap_servers="kafka:9092"), engine=EngineSettings(path="/models/mine")),
        ignore,
    )
    assert made == []


@pytest.mark.usefixtures("made")
def test_a_step_that_fails_is_a_sentence_and_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: Path, report: Report) -> None:
        report("downloading [1 of 2]")
        raise LocalStackError("the network is away")

    monkeypatch.setattr(module, "prepare_jars", fail)
    assert main() == 1
    output = capsys.readouterr()
    assert output.out == "setup: downloading [1 of 2]\n"
    assert output.err == "error: the network is away\n"
