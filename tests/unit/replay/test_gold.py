from pathlib import Path

import pytest

from replay.evaluation.gold import DataError, GoldAnswer, read_answers, read_qrels


def test_qrels_of_both_forms_are_read(tmp_path: Path) -> None:
    trec, beir = tmp_path / "qrels.txt", tmp_path / "test.tsv"
    trec.write_text("q1 0 d1 2\nq1\t0\td2\t0\n\n7 0 d 3 \n".replace("d 3", "d3 1"))
    beir.write_text("query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td with space\t-1\r\n")
    assert read_qrels(trec) == {"q1": {"d1": 2, "d2": 0}, "7": {"d3": 1}}
    assert read_qrels(beir) == {"q1": {"d1": 2, "d with space": -1}}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("q1 d1 1\n", r"qrels:1 is no relevance judgement"),
        ("q1 0 d1 1\nq1 0 d2 yes\n", r"qrels:2 is no relevance judgement"),
        ("query-id\tcorpus-id\tscore\nq1 0 d1 1\n", r"qrels:2 is no"),
        ("query-id\tcorpus-id\tscore\n", "holds no relevance judgements"),
        ("", "holds no relevance judgements"),
    ],
)
def test_other_qrels_are_refused(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "qrels"
    path.write_text(text)
    with pytest.raises(DataError, match=sentence):
        read_qrels(path)


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        read_qrels(tmp_path / "missing")
    (tmp_path / "latin").write_bytes(b"\xe9")
    with pytest.raises(DataError, match="is not UTF-8"):
        read_answers(tmp_path / "latin")


def test_gold_answers_are_read(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text('\ufeff{"id": "q1", "answers": ["yes", "indeed"]}\n\n{"_id": 2, "answers": [], "more": 1}\n')
    assert read_answers(path) == {"q1": GoldAnswer(("yes", "indeed")), "2": GoldAnswer(())}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("nonsense", ":1 is not JSON"),
        ("[]", ":1 is no object"),
        ('{"id": "q1"}', ":1 is no object with an id and a list of answers"),
        ('{"id": "q1", "answers": [" "]}', ":1 has an answer that is empty"),
        ('{"id": "q1", "answers": []}\n{"id": "q1", "answers": []}', ":2 has the ID q1 again"),
        ("\n", "holds no gold answers"),
    ],
)
def test_other_gold_answers_are_refused(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text(text)
    with pytest.raises(DataError, match=sentence):
        read_answers(path)
