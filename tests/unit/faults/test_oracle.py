"""The oracle on histories with planted violations."""

from dataclasses import replace

import pytest

from faults.chain import CHAIN, Step, ask
from faults.oracle import Kind, Position, Record, Verdict, judge
from schemas.events import Answered, RequestFailed
from topics.specs import (
    ANSWERS,
    PASSAGES_RETRIEVED,
    PROMPTS_BUILT,
    QUERIES,
    QUERIES_ACCEPTED,
    QUERIES_EMBEDDED,
    TopicSpec,
    dead_letters,
)


class History:
    """Records as a faultless pipeline leaves them; tests then spoil them."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def add(
        self, spec: TopicSpec, key: str, origin: Record | None, question: str | None, kind: str = "event"
    ) -> Record:
        offset = sum(record.topic == spec.name for record in self.records)
        came_from = origin.position if origin else None
        identity = f"{kind} of {origin.id or origin.key}" if origin else ""
        record = Record((spec.name, 0, offset), key, identity, kind, came_from, question)
        self.records.append(record)
        return record

    def ask(self, key: str, question: str = "why?") -> Record:
        return self.add(QUERIES, key, None, question)

    def run(self, record: Record, steps: tuple[Step, ...] = CHAIN) -> Record:
        for step in steps:
            kind = Answered.TYPE if step.target is ANSWERS else f"by {step.stage}"
            record = self.add(step.target, record.key, record, record.question, kind)
        return record

    def fail(self, step: Step, record: Record) -> None:
        self.add(ANSWERS, record.key, record, None, RequestFailed.TYPE)
        self.add(dead_letters(step.source), record.key, record, record.question)

    def committed(self) -> dict[tuple[str, str, int], int]:
        return {
            (step.stage, step.source.name, 0): sum(record.topic == step.source.name for record in self.records)
            for step in CHAIN
        }

    def judge(self, committed: dict[tuple[str, str, int], int] | None = None) -> Verdict:
        return judge(self.records, self.committed() if committed is None else committed)


@pytest.fixture
def history() -> History:
    made = History()
    for key in "abc":
        made.run(made.ask(key))
    return made


def kinds(verdict: Verdict) -> list[tuple[Kind, str, str]]:
    return [(finding.kind, finding.stage, finding.key) for finding in verdict.findings]


def find(history: History, spec: TopicSpec, key: str) -> Record:
    return next(record for record in history.records if record.topic == spec.name and record.key == key)


def test_a_faultless_history_keeps_both_promises(history: History) -> None:
    verdict = history.judge()
    assert verdict.findings == ()
    assert verdict.requests == 3
    assert verdict.keeps(exactly_once=True)
    assert verdict.keeps(exactly_once=False)


@pytest.mark.parametrize("step", CHAIN, ids=lambda step: step.stage)
def test_an_input_without_output_is_lost_at_its_stage(step: Step) -> None:
    history = History()
    history.run(history.ask("a"))
    history.run(history.ask("b"), CHAIN[: CHAIN.index(step)])
    verdict = history.judge()
    assert kinds(verdict) == [("lost", step.stage, "b")]
    assert not verdict.keeps(exactly_once=False)


@pytest.mark.parametrize("step", CHAIN, ids=lambda step: step.stage)
def test_a_second_output_is_a_duplicate_at_its_stage_only(history: History, step: Step) -> None:
    output = find(history, step.target, "b")
    history.records.append(replace(output, position=(output.topic, 0, 3)))
    verdict = history.judge()
    assert kinds(verdict) == [("duplicated", step.stage, "b")]
    assert not verdict.keeps(exactly_once=True)
    assert verdict.keeps(exactly_once=False)


def test_a_duplicate_that_the_next_stage_handled_too_counts_at_both(history: History) -> None:
    output = find(history, QUERIES_ACCEPTED, "b")
    again = replace(output, position=(output.topic, 0, 3))
    history.records.append(again)
    history.add(QUERIES_EMBEDDED, "b", again, again.question, "by embedding")
    assert kinds(history.judge()) == [("duplicated", "query", "b"), ("duplicated", "embedding", "b")]


def test_a_question_asked_twice_is_answered_once(history: History) -> None:
    history.ask("b")
    assert history.judge().findings == ()
    history.run(history.records[-1], CHAIN[:1])
    assert ("duplicated", "query", "b") in kinds(history.judge())


def test_an_output_of_what_was_never_committed_is_a_phantom(history: History) -> None:
    output = find(history, PROMPTS_BUILT, "b")
    aborted: Position = (*output.position[:2], 99)
    history.add(ANSWERS, "b", replace(output, position=aborted), output.question, Answered.TYPE)
    assert kinds(history.judge()) == [("phantom", "generation", "b")]


def test_an_answer_to_nobody_is_a_phantom(history: History) -> None:
    history.records = [record for record in history.records if record.key != "b" or record.topic == ANSWERS.name]
    found = kinds(history.judge())
    assert ("phantom", "query", "b") in found
    assert ("phantom", "generation", "b") in found


def test_an_output_under_another_request_is_a_mismatch(history: History) -> None:
    index = history.records.index(find(history, ANSWERS, "b"))
    history.records[index] = replace(history.records[index], key="a")
    assert ("mismatched", "generation", "a") in kinds(history.judge())


def test_an_output_with_another_question_is_a_mismatch(history: History) -> None:
    index = history.records.index(find(history, ANSWERS, "b"))
    history.records[index] = replace(history.records[index], question="who?")
    assert kinds(history.judge()) == [("mismatched", "generation", "b")]


def test_what_must_fail_ends_with_one_terminal_event_and_one_dead_letter(history: History) -> None:
    step = CHAIN[2]
    poison = history.run(history.ask("d", ask("why?", "poison", step.stage)), CHAIN[:2])
    history.fail(step, poison)
    assert history.judge().findings == ()
    history.fail(step, poison)
    assert kinds(history.judge()) == [("duplicated", step.stage, "d"), ("duplicated", step.stage, "d")]


def test_a_dead_letter_without_a_terminal_event_is_a_loss(history: History) -> None:
    step = CHAIN[2]
    poison = history.run(history.ask("d", ask("why?", "poison", step.stage)), CHAIN[:2])
    history.add(dead_letters(step.source), "d", poison, poison.question)
    assert kinds(history.judge()) == [("lost", step.stage, "d")]


def test_an_output_and_a_failure_are_one_too_many(history: History) -> None:
    history.fail(CHAIN[1], find(history, QUERIES_ACCEPTED, "b"))
    found = kinds(history.judge())
    assert found.count(("duplicated", "embedding", "b")) == 2
    assert ("wrong_end", "generation", "b") in found


def test_an_answer_where_failure_was_asked_for_is_wrong_and_so_is_the_reverse() -> None:
    history = History()
    history.run(history.ask("a", ask("why?", "poison", "prompt")))
    history.fail(CHAIN[0], history.ask("b"))
    assert kinds(history.judge()) == [("wrong_end", "prompt", "a"), ("wrong_end", "generation", "b")]


def test_an_answer_that_nobody_generated_is_wrong(history: History) -> None:
    retrieved = find(history, PASSAGES_RETRIEVED, "b")
    history.records = [r for r in history.records if r.key != "b" or r.topic not in (PROMPTS_BUILT.name, ANSWERS.name)]
    history.add(ANSWERS, "b", retrieved, retrieved.question, Answered.TYPE)
    assert kinds(history.judge()) == [("wrong_end", "retrieval", "b")]


def test_an_end_that_could_not_be_shown_is_wrong(history: History) -> None:
    ended = find(history, ANSWERS, "b")
    history.add(dead_letters(ANSWERS), "b", ended, ended.question)
    assert kinds(history.judge()) == [("wrong_end", "projector", "b")]


def test_who_only_watches_has_lag_too(history: History) -> None:
    watchers = {"projector": (PROMPTS_BUILT, ANSWERS)}
    committed = history.committed() | {("projector", PROMPTS_BUILT.name, 0): 3, ("projector", ANSWERS.name, 0): 1}
    verdict = judge(history.records, committed, watchers=watchers)
    assert verdict.behind["projector"] == 2
    assert not verdict.keeps(exactly_once=False)


def test_what_is_not_committed_is_lag(history: History) -> None:
    committed = history.committed() | {("prompt", CHAIN[3].source.name, 0): 1}
    verdict = history.judge(committed)
    assert verdict.behind == {"query": 0, "embedding": 0, "retrieval": 0, "prompt": 2, "generation": 0}
    assert not verdict.keeps(exactly_once=False)


def test_an_open_transaction_breaks_the_promise(history: History) -> None:
    assert not judge(history.records, history.committed(), ["rag.answers/0"]).keeps(exactly_once=False)
