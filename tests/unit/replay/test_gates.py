from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.evaluation.cases import read_cases
from replay.evaluation.errors import EvaluationError
from replay.evaluation.evaluation import Evaluation, Options, evaluate
from replay.evaluation.gates import Gate, parse_gate
from replay.evaluation.gold import Gold, GoldAnswer
from replay.evaluation.measures import FIXED
from replay.evaluation.outcome import conclude
from replay.run_folder.reader import Run
from tests.fixtures.run_folders import asked, write_run

NAMES = st.sampled_from(
    [*(measure.name for measure in FIXED), "total_ms", "generation_ms_p95", "chunk_embedding_ms_p50"]
)
SPACES = st.sampled_from(["", " ", "  "])


@given(
    NAMES,
    st.sampled_from(["", ".low", ".high", ".p"]),
    st.sampled_from([">=", "<=", ">", "<"]),
    st.floats(-1e6, 1e6),
    SPACES,
)
def test_every_gate_is_read_as_it_was_written(name: str, part: str, comparison: str, limit: float, space: str) -> None:
    text = f"{space}{name}{part}{space}{comparison}{space}{limit!r}{space}"
    gate = parse_gate(text, is_compared=True)
    assert gate == Gate(
        text.strip(), name, of_run=False, part=part.lstrip("."), comparison=comparison, limit=limit, percent=False
    )


@pytest.mark.parametrize(
    ("text", "of_run", "part", "limit", "percent"),
    [
        ("ndcg10 >= -0.01", False, "", -0.01, False),
        ("run.ndcg10.low>.5", True, "low", 0.5, False),
        ("total_ms_p95 <= +10 %", False, "", 10, True),
        ("prompt_tokens < 1e3", False, "", 1000, False),
    ],
)
def test_gates_of_the_documentation(text: str, part: str, limit: float, *, of_run: bool, percent: bool) -> None:
    gate = parse_gate(text, is_compared=True)
    assert (gate.of_run, gate.part, gate.limit, gate.percent) == (of_run, part, limit, percent)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "'' is no gate"),
        ("ndcg10", "is no gate"),
        ("ndcg10 == 1", "is no gate"),
        ("ndcg10 >= high", "is no gate"),
        ("ndcg10 >= 1; f1 > 2", "is no gate"),
        ("ndcg10.mean >= 1", "is no gate"),
        ("run.ndcg10 >= nan", "is no gate"),
        ("bleu >= 1", "of an unknown measure; there are: ndcg10"),
        ("run.f1 >= 1%", "has a share of the other run's value"),
        ("run.f1.p >= 0.1", "asks for a p-value"),
        ("f1.p >= 1%", "has a p-value as a share"),
    ],
)
def test_other_gates_are_refused(text: str, sentence: str) -> None:
    with pytest.raises(EvaluationError, match=sentence):
        parse_gate(text, is_compared=True)


def test_a_difference_needs_something_to_differ_from() -> None:
    with pytest.raises(EvaluationError, match=r"needs --against; the run's own value is run\.f1"):
        parse_gate("f1 >= 0", is_compared=False)
    assert parse_gate("run.f1 >= 0", is_compared=False).of_run


GOLD = Gold(answers={f"q{at}": GoldAnswer(("yes",)) for at in range(8)})


def evaluated(folder: Path, right: int, ms: int) -> Evaluation:
    answers = ["Yes."] * right + ["No."] * (8 - right)
    run = write_run(folder, [asked(f"q{at}", answer, ms=ms) for at, answer in enumerate(answers)])
    return evaluate(read_cases(Run(run)), GOLD, Options())


@pytest.mark.parametrize(
    ("text", "value", "holds"),
    [
        ("f1 >= 0.25", 0.25, True),
        ("f1 > 0.25", 0.25, False),
        ("f1 < 0.3", 0.25, True),
        ("f1.low >= 0", 0.0, True),
        ("f1.high <= 0.9", 0.625, True),
        ("run.f1 >= 0.75", 0.75, True),
        ("run.f1 <= 0.7", 0.75, False),
        # 10 ms a request more than 100 ms: 10 %.
        ("total_ms_p95 <= 10%", 10.0, True),
        ("total_ms_p95 < 10%", 10.0, False),
        ("total_ms <= +9.9%", 10.0, False),
    ],
)
def test_gates_hold_or_do_not(tmp_path: Path, text: str, value: float, *, holds: bool) -> None:
    run, against = evaluated(tmp_path / "run", 6, 11), evaluated(tmp_path / "against", 4, 10)
    outcome = conclude(run, against, [parse_gate(text, is_compared=True)], seed=7)
    assert outcome.gates[0].value == pytest.approx(value)
    assert outcome.gates[0].holds is outcome.ok is holds


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("ndcg10 >= 0", "ndcg10 cannot be measured without --qrels"),
        ("judge >= 0", "judge cannot be measured without --judge"),
        ("refused_unanswerable >= 0", "refused_unanswerable has no value: no request of the run run has one"),
        ("embedding_ms >= 0", "there is no measure embedding_ms; there are: exact_match"),
        ("total_ms_p95.low >= 0", "has no value: total_ms_p95 has no low here"),
        ("run.total_ms_p95.high >= 0", "has no value: total_ms_p95 has no high here"),
    ],
)
def test_a_gate_without_a_value_is_an_error_and_does_not_hold_by_chance(
    tmp_path: Path, text: str, sentence: str
) -> None:
    run, against = evaluated(tmp_path / "run", 6, 11), evaluated(tmp_path / "against", 4, 10)
    with pytest.raises(EvaluationError, match=sentence):
        conclude(run, against, [parse_gate(text, is_compared=True)], seed=7)
