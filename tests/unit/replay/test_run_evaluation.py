import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replay.evaluation.cases import Case, Cases, Chunk, read_cases
from replay.evaluation.comparison import compare
from replay.evaluation.errors import EvaluationError
from replay.evaluation.evaluation import Evaluation, Options, evaluate, summaries
from replay.evaluation.gold import Gold, GoldAnswer
from replay.evaluation.outcome import as_json, conclude
from replay.run_folder.reader import Run
from replay.run_folder.rows import AnswerRow, RequestRow, Row
from tests.fixtures.run_folders import asked, write_run

SKY = ("sky", "The sky is blue because air scatters light.")
SEA = ("sea", "The sea is salty because rivers carry salt.")
GOLD = Gold(
    qrels={"q1": {"sky": 1}, "q2": {"sea": 1}, "q9": {"sky": 1}},
    answers={"q1": GoldAnswer(("blue",)), "q2": GoldAnswer(("salty",)), "q3": GoldAnswer(())},
)


def evaluated(folder: Path, requests: list[list[Row]], gold: Gold = GOLD, *, complete: bool = True) -> Evaluation:
    return evaluate(read_cases(Run(write_run(folder, requests, complete=complete))), gold, Options())


def values(evaluation: Evaluation, name: str) -> list[float | None]:
    return [None if math.isnan(value) else round(float(value), 4) for value in evaluation.values[name]]


def test_a_run_measured_by_hand(tmp_path: Path) -> None:
    run = evaluated(
        tmp_path / "run",
        [
            asked("q1", "The sky is blue [1].", [SKY, SEA]),
            asked("q2", "The sea is salty [1]. Mermaids sing.", [SKY, SEA]),
            asked("q3", "I do not know.", [SKY]),
            [RequestRow("r4", "q4", "default", "?"), AnswerRow("r4", "failed", stage="retrieval", code="gone")],
        ],
    )
    assert run.query_ids == ("q1", "q2", "q3", "q4")
    assert values(run, "ndcg10") == [1, round(1 / math.log2(3), 4), None, None]
    assert values(run, "rr") == [1, 0.5, None, None]
    # {sky, is, blue} and {blue} share one: 2 / (3 + 1); of the other's five words 2 / (5 + 1).
    assert values(run, "f1") == [0.5, round(1 / 3, 4), None, None]
    assert values(run, "contains") == [1, 1, None, None]
    assert values(run, "refused_unanswerable") == [None, None, 1, None]
    assert values(run, "refused_answerable") == [0, 0, None, None]
    # The second cites the sky's passage for the sea; a source that is not cited would support it.
    assert values(run, "citation_precision") == [1, 0, None, None]
    assert values(run, "citation_recall") == [1, 0, None, None]
    assert values(run, "unsupported") == [0, 0.5, None, None]
    assert values(run, "relevant_citation_precision") == [1, 0, None, None]
    assert values(run, "relevant_citation_recall") == [1, 0, None, None]
    assert values(run, "answered") == [1, 1, 1, 0]
    assert values(run, "refused") == [0, 0, 1, None]
    assert values(run, "prompt_tokens") == [100, 100, 100, None]
    assert values(run, "total_ms") == [100, 100, 100, None]
    assert values(run, "generation_ms") == [80, 80, 80, None]
    assert run.counts["qrels_without_request"] == 1
    assert summaries(run, 7)["total_ms_p95"].value == 100
    assert summaries(run, 7)["recall10"].requests == 2


def test_a_replays_time_is_that_of_the_stages_it_ran_and_said_to_hold_waits(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", [asked("q1", "blue", [SKY])], stages=["generation"])
    run = evaluate(read_cases(Run(folder)), GOLD, Options())
    assert values(run, "total_ms") == [80]
    assert values(run, "retrieval_ms") == [10]
    assert any("--rate" in warning for warning in conclude(run, None, [], seed=7).warnings)


def test_what_has_not_ended_is_left_out_until_the_run_is_complete(tmp_path: Path) -> None:
    requests = [asked("q1", "blue", [SKY]), asked("q2", None, ())]
    partial = evaluated(tmp_path / "partial", requests, complete=False)
    assert values(partial, "answered") == [1, None]
    assert values(partial, "exact_match") == [1, None]
    assert values(partial, "rr") == [1, None]
    complete = evaluated(tmp_path / "complete", requests)
    assert values(complete, "answered") == [1, 0]
    assert values(complete, "exact_match") == [1, 0]
    assert values(complete, "rr") == [1, 0]
    [first, *_] = conclude(partial, None, [], 7).warnings
    assert first == "The run partial is not complete: 1 of 2 requests have ended."
    assert "1 requests have no end" in conclude(complete, None, [], 7).warnings[0]


def test_verdicts_that_could_not_be_read_are_counted_and_not_averaged(tmp_path: Path) -> None:
    cases = read_cases(Run(write_run(tmp_path / "run", [asked(f"q{at}", "Yes.") for at in range(4)])))
    run = evaluate(cases, Gold(), Options(), {"q0": 1.0, "q1": None, "q2": 0.5})
    assert values(run, "judge") == [1, None, 0.5, None]
    assert summaries(run, 7)["judge"].value == 0.75
    assert run.counts["judge_unparsable"] == 1
    assert "Of 3 verdicts on the run run, 1 could not be read and do not count." in conclude(run, None, [], 7).warnings


def test_chunks_may_be_what_qrels_name(tmp_path: Path) -> None:
    run = evaluated(tmp_path / "run", [asked("q1", "Blue [2].", [SEA, SKY])], Gold({"q1": {"sky#0": 1}}))
    assert values(run, "rr") == [0.5]
    assert values(run, "relevant_citation_precision") == [1]


def test_rows_that_are_there_twice_count_once_and_are_told(tmp_path: Path) -> None:
    run = evaluated(tmp_path / "run", [asked("q1", "blue", [SKY]), asked("q1", "red", [SKY])])
    assert values(run, "exact_match") == [1]
    assert any("again" in warning for warning in conclude(run, None, [], 7).warnings)


def test_gold_answers_that_match_nothing_and_empty_runs_are_errors(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="no gold answer is for a request of the run one"):
        evaluated(tmp_path / "one", [asked("q1", "blue")], Gold(answers={"x": GoldAnswer(("blue",))}))
    with pytest.raises(EvaluationError, match="the run none has no requests"):
        evaluated(tmp_path / "none", [])


def test_two_runs_compared_by_hand(tmp_path: Path) -> None:
    ours = [
        asked("q1", "blue", [SKY], ms=20),
        asked("q2", "sweet", [SKY], ms=20),
        asked("q3", "I do not know.", [SEA], ms=20),
        asked("q4", "Only here."),
    ]
    theirs = [asked("q3", "I do not know.", [SEA]), asked("q1", "red", [SKY, SEA]), asked("q2", "salty", [SEA])]
    comparison = compare(evaluated(tmp_path / "run", ours), evaluated(tmp_path / "against", theirs), seed=7)
    assert comparison.shared == 3
    f1 = comparison.differences["f1"]
    assert (f1.value, f1.against, f1.difference, f1.wins, f1.losses, f1.ties, f1.pairs) == (0.5, 0.5, 0, 1, 1, 0, 2)
    taken = comparison.differences["total_ms"]
    # Of times the shorter ones win.
    assert (taken.difference, taken.wins, taken.losses) == (100, 0, 3)
    assert comparison.main is not None
    assert comparison.main.name == "f1"
    assert [change.query_id for change in comparison.changes] == ["q2", "q1", "q3"]
    assert [change.by for change in comparison.changes] == [-1, 1, None]
    assert [change.passages_change for change in comparison.changes] == [1, 0.5, 0]
    assert (comparison.same_answers, comparison.same_passages) == (1, 1)


def test_runs_without_a_request_in_common_are_refused(tmp_path: Path) -> None:
    run, against = (evaluated(tmp_path / name, [asked(name, "x")], Gold()) for name in ("one", "two"))
    with pytest.raises(EvaluationError, match="have no request in common: the one has IDs such as 'one'"):
        compare(run, against, 7)


def of_words(name: str, answers: list[str | None]) -> Cases:
    """A run of these answers, without a folder."""
    cases = {}
    for at, text in enumerate(answers):
        answer = None if text is None else AnswerRow(f"{name}{at}", "answered", text)
        cases[f"q{at}"] = Case(RequestRow(f"{name}{at}", f"q{at}", "default", "?"), answer, ["c"])
    return Cases(name, cases, {"c": Chunk("d", "", "a b c")}, is_complete=True, repeated=0, stamps={})


ANSWERS = st.lists(st.tuples(*[st.none() | st.sampled_from(["a", "a b", "b c", "c", ""])] * 2), min_size=1, max_size=12)


@given(ANSWERS, st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_a_comparison_the_other_way_round_says_the_opposite(
    answers: list[tuple[str | None, str | None]], seed: int
) -> None:
    gold = Gold(answers={f"q{at}": GoldAnswer(("a b",)) for at in range(len(answers))})
    one, other = (
        evaluate(of_words(name, [pair[at] for pair in answers]), gold, Options())
        for at, name in enumerate(("one", "other"))
    )
    forward, backward = compare(one, other, seed), compare(other, one, seed)
    assert forward.differences.keys() == backward.differences.keys()
    for name, there in forward.differences.items():
        back = backward.differences[name]
        assert there.difference == pytest.approx(-back.difference)
        assert (there.p, there.p_adjusted, there.ties, there.pairs) == (back.p, back.p_adjusted, back.ties, back.pairs)
        if there.measure.better != "neither":
            assert (there.wins, there.losses) == (back.losses, back.wins)
        if there.low is not None:
            assert (there.low, there.high) == (-back.high, -back.low)  # type: ignore[operator]
    assert forward.same_answers == backward.same_answers


@given(ANSWERS)
@settings(max_examples=25, deadline=None)
def test_every_share_lies_between_0_and_1_and_a_run_does_not_differ_from_itself(
    answers: list[tuple[str | None, str | None]],
) -> None:
    gold = Gold(answers={f"q{at}": GoldAnswer(("a b",)) for at in range(len(answers))})
    run = evaluate(of_words("run", [pair[0] for pair in answers]), gold, Options())
    for measure in run.measures:
        if not measure.unit:
            there = run.values[measure.values_of]
            there = there[~np.isnan(there)]
            assert ((there >= 0) & (there <= 1)).all()
    comparison = compare(run, run, 7)
    assert all(
        difference.difference == 0 and difference.p in {None, 1} for difference in comparison.differences.values()
    )
    assert comparison.same_answers == comparison.same_passages == len(answers)
    assert not as_json(conclude(run, run, [], 7), 5)["changes"]
