import sys
import threading
from pathlib import Path

import pytest

from infra.local.folders import whole_folder
from infra.local.models import embedder_path, engine_path
from infra.local.report import LocalStackError
from infra.local.step import run_step


def silent(_: str) -> None:
    return


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "model"
    with whole_folder(target, silent) as partial:
        assert partial is not None
        (partial / "file").write_text("x")
        assert not target.exists()
    assert (target / "file").read_text() == "x"


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    with whole_folder(tmp_path, silent) as partial:
        assert partial is None


def test_an_interrupted_attempt_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "model"

    def interrupted() -> None:
        with whole_folder(target, silent) as partial:
            assert partial is not None
            (partial / "half").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not target.exists()
    with whole_folder(target, silent) as partial:
        assert partial is not None
        assert list(partial.iterdir()) == []


def test_a_second_one_waits_for_the_first(tmp_path: Path) -> None:
    target = tmp_path / "model"
    waiting = threading.Event()
    seen: list[Path | None] = []

    def second() -> None:
        with whole_folder(target, lambda _: waiting.set()) as partial:
            seen.append(partial)

    thread = threading.Thread(target=second)
    with whole_folder(target, silent):
        thread.start()
        assert waiting.wait(10)
    thread.join(10)
    assert seen == [None]


def test_a_step_reports_what_it_does() -> None:
    lines: list[str] = []
    run_step([sys.executable, "-c", "print('half way')"], "counting", lines.append)
    assert lines[0] == "counting (0 s)"


def test_a_failed_step_says_why() -> None:
    with pytest.raises(LocalStackError, match="counting failed: no more numbers"):
        run_step([sys.executable, "-c", "import sys; sys.exit('no more numbers')"], "counting", silent)


def test_where_the_models_are(tmp_path: Path) -> None:
    assert (embedder_path() / "modules.json").is_file()
    assert engine_path(tmp_path) == tmp_path / "models" / "SmolLM2-135M-Instruct"
