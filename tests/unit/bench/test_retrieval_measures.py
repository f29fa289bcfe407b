"""How a ranking is judged."""

from pathlib import Path

import pytest

from bench import retrieval_measures as measures
from replay.beir import read_documents, read_qrels, read_queries
from replay.evaluation.gold import DataError


def test_a_query_that_found_nothing_counts_as_zero() -> None:
    qrels = {"q1": {"d1": 1}, "q2": {"d2": 1}, "q3": {"d3": 1}}
    run = {"q1": {"d1": 1.0, "x": 0.5}, "q2": {"x": 1.0, "d2": 0.5}, "q3": {}}
    assert measures.per_query(measures.NDCG_AT_10, qrels, run) == pytest.approx([1, 0.6309, 0], abs=1e-4)
    assert measures.per_query(measures.RECALL_AT_100, qrels, run) == [1, 1, 0]


def test_the_interval_holds_the_mean_and_narrows_with_more_values() -> None:
    low, high = measures.mean_interval([0, 1] * 50)
    assert low < 0.5 < high
    assert 0.15 < high - low < 0.25
    narrow_low, narrow_high = measures.mean_interval([0, 1] * 5_000)
    assert narrow_high - narrow_low < (high - low) / 5
    assert measures.mean_interval([0.5, 0.5]) == (0.5, 0.5)
    with pytest.raises(ValueError, match="no values"):
        measures.mean_interval([])


def test_figures_have_an_interval_each() -> None:
    assert measures.figures("ndcg10_dense", [0.5, 0.5]) == {"ndcg10_dense": 0.5, "ndcg10_dense_95": [0.5, 0.5]}


def test_a_folder_in_beirs_form_is_read(tmp_path: Path) -> None:
    (tmp_path / "qrels").mkdir()
    (tmp_path / "corpus.jsonl").write_text('{"_id": "d1", "title": "T", "text": "x"}\n{"_id": "d2", "text": "y"}\n')
    (tmp_path / "queries.jsonl").write_text('{"_id": "q1", "text": "Why?"}\n')
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\n")
    assert [(key, document.title, document.text) for key, document in read_documents(tmp_path)] == [
        ("d1", "T", "x"),
        ("d2", "", "y"),
    ]
    assert read_queries(tmp_path) == {"q1": "Why?"}
    assert read_qrels(tmp_path, "test") == {"q1": {"d1": 2, "d2": 0}}


def test_another_folder_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train\.tsv"):
        read_qrels(tmp_path, "train")
    (tmp_path / "queries.jsonl").write_text("no JSON")
    with pytest.raises(DataError, match=r"queries\.jsonl"):
        read_queries(tmp_path)
    with pytest.raises(DataError, match=r"corpus\.jsonl"):
        list(read_documents(tmp_path))
