from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner, Result

from ragline.cli import app
from ragline.evaluate_cli import ask_fields
from replay.evaluation.errors import EvaluationError
from tests.fixtures.run_folders import asked, write_run

SKY = ("sky", "The sky is blue because air scatters light.")


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two runs, qrels and gold answers."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAGLINE_REPLAY__RUNS_FOLDER", "runs")
    for name, answer in (("old", "The sky is red [1]."), ("new", "The sky is blue [1].")):
        write_run(tmp_path / "runs" / name, [asked(f"q{at}", answer, [SKY], run=name) for at in range(9)])
    (tmp_path / "qrels").write_text("".join(f"q{at} 0 sky 1\n" for at in range(9)))
    (tmp_path / "answers").write_text("".join(f'{{"id": "q{at}", "answers": ["blue"]}}\n' for at in range(9)))
    (tmp_path / "other").write_text("x 0 y 1\n")
    return tmp_path


def evaluate(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["evaluate", *arguments])


def test_two_runs_are_compared_held_to_gates_and_reported(runs: Path) -> None:
    arguments = ("new", "--against", "old", "--qrels", "qrels", "--answers", "answers", "--html", "report.html")
    result = evaluate(*arguments, "--gate", "contains.low > 0.5", "--gate", "ndcg10 >= -0.01")
    assert result.exit_code == 0, result.output
    assert "gate contains.low > 0.5: holds (+1)" in result.output
    assert "</html>" in (runs / "report.html").read_text()
    result = evaluate(*arguments, "--gate", "contains < 0.5", "--json")
    assert result.exit_code == 1
    document = orjson.loads(result.stdout)
    assert document["ok"] is False
    assert document["differences"]["contains"]["wins"] == 9
    assert document["gates"] == [{"gate": "contains < 0.5", "value": 1.0, "holds": False}]
    assert document["changes"][0]["run"]["answer"] == "The sky is blue [1]."
    assert evaluate(*arguments, "--json", "--gate", "contains < 0.5").stdout == result.stdout


@pytest.mark.usefixtures("runs")
def test_a_run_may_be_named_by_its_folder() -> None:
    result = evaluate("runs/new", "--gate", "run.unsupported <= 0")
    assert result.exit_code == 0, result.output
    assert "new: 9 requests, 9 answered" in result.output
    assert "gate run.unsupported <= 0: holds (+0)" in result.output


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["none"], "there is no run none in runs; there are: old, new"),
        (["new", "--against", "none"], "there is no run none in runs"),
        (["new", "--gate", "bleu > 1"], "is of an unknown measure"),
        (["new", "--gate", "f1 > 0"], "needs --against"),
        (["new", "--gate", "run.ndcg10 > 0"], "ndcg10 cannot be measured without --qrels"),
        (["new", "--qrels", "other"], "requests are none of the run's"),
        (["new", "--qrels", "answers"], "is no relevance judgement"),
        (["new", "--answers", "qrels"], "is not JSON"),
        (["new", "--answers", "missing"], "cannot be read: No such file or directory"),
        (["new", "--support", "hope"], "--support takes lexical or embedding, not 'hope'"),
        (["new", "--refusal", "("], "is no regular expression"),
        (["new", "--ask", "top_k=3"], "--ask and --limit say how --beir asks"),
        (["third", "--beir", "missing"], "missing/queries.jsonl cannot be read"),
        (["new", "--html", "missing/report.html"], "there is no folder missing for the report"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_nothing_behind(runs: Path, arguments: list[str], sentence: str) -> None:
    before = sorted(runs.rglob("*"))
    html = [] if "--html" in arguments else ["--html", "report.html"]
    result = evaluate(*arguments, *html)
    assert result.exit_code == 2
    assert sentence in " ".join(result.stderr.split())
    assert result.stderr.count("error:") == 1
    assert "Traceback" not in result.output
    assert sorted(runs.rglob("*")) == before


def test_fields_of_questions_are_read() -> None:
    items = ["top_k=10", "mode=sparse", "min_score=-1", 'stop=["."]', "filter=source == 'x'"]
    expected = {"top_k": 10, "mode": "sparse", "min_score": -1, "stop": ["."], "filter": "source == 'x'"}
    assert ask_fields(items) == expected


@pytest.mark.parametrize(
    ("item", "sentence"),
    [
        ("top_k", "--ask takes FIELD=VALUE"),
        ("question=x", "--ask takes FIELD=VALUE with one of .*not 'question=x'"),
        ("colour=red", "not 'colour=red'"),
        ("top_k=many", "--ask top_k: Input should be a valid integer"),
    ],
)
def test_other_fields_are_refused(item: str, sentence: str) -> None:
    with pytest.raises(EvaluationError, match=sentence):
        ask_fields([item])


def test_a_missing_extra_is_one_sentence(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys  # noqa: PLC0415

    for name in [name for name in sys.modules if name.split(".")[0] in {"ir_measures", "replay", "ragline"}]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ir_measures", None)
    from ragline.cli import app as fresh  # noqa: PLC0415

    result = CliRunner().invoke(fresh, ["evaluate", "new"])
    assert result.exit_code == 2
    assert "the package ir_measures is missing" in result.stderr
    assert "pip install 'ragline[evaluate]'" in result.stderr
    assert runs.is_dir()
