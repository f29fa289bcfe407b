import pytest

from replay.evaluation.judge import FORMAT, judge_messages, read_verdict


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        ('{"verdict": "right"}', 1.0),
        (' {"verdict":"partly","why":"x"}\n', 0.5),
        ('{"verdict": "wrong"}', 0.0),
        ('{"verdict": "Right"}', None),
        ('{"verdict": 1}', None),
        ('{"verdict": ["right"]}', None),
        ("right", None),
        ('The answer is {"verdict": "right"}', None),
        ('["right"]', None),
        ("", None),
    ],
)
def test_a_verdict_is_read_to_the_letter_or_not_at_all(said: str, verdict: float | None) -> None:
    assert read_verdict(said) == verdict


def test_the_judge_sees_gold_answers_where_there_are_any_and_else_the_sources() -> None:
    _, user = judge_messages("Why?", "So.", ["Because."], ["Passage text."], 4_000)
    assert user.content == "Question: Why?\n\nReference:\n\nA right answer: Because.\n\nAnswer to judge: So."
    _, user = judge_messages("Why?", "So.", [], ["One.", "Two."], 4_000)
    assert "Passage: One.\n\nPassage: Two." in user.content
    assert "(nothing)" in judge_messages("Why?", "So.", [], [], 4_000)[1].content


def test_question_and_answer_stay_where_the_reference_is_too_long() -> None:
    system, user = judge_messages("Why?", "So.", [], ["x" * 10_000], 1_000)
    assert len(system.content) + len(user.content) < 1_100
    assert user.content.startswith("Question: Why?")
    assert user.content.endswith("Answer to judge: So.")
    assert FORMAT.json_schema
