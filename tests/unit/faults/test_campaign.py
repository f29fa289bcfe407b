from random import Random

import pytest

from faults.arena import Injection, recovery_s
from faults.campaign import PARTITIONS, Round, questions
from faults.chain import STAGES, ask, failing_stage, has_wish, wish_of
from faults.injections import ALL, BY_NAME
from faults.oracle import Finding, Verdict
from faults.report import summary, table


def test_a_wish_is_for_one_stage() -> None:
    question = ask("why?", "poison", "prompt")
    assert [wish_of(question, stage) for stage in STAGES] == [None, None, None, "poison", None]
    assert failing_stage(question) == "prompt"
    assert has_wish(question)


def test_a_request_that_fails_once_is_answered() -> None:
    assert failing_stage(ask("why?", "flaky", "prompt")) is None
    assert failing_stage(ask("why?", "slow", "prompt")) is None
    assert failing_stage("what is poison prompt: about?") is None
    assert not has_wish("why?")


def test_questions_are_the_same_for_the_same_seed() -> None:
    fault = BY_NAME["poison"]
    first, second, other = (questions(fault, "p", 100, Random(seed)) for seed in (1, 1, 2))
    assert first == second != other
    assert sum(failing_stage(asked.question) is not None for asked in first) == fault.wishes
    assert len({asked.key for asked in first}) == 100


def test_what_is_asked_twice_comes_again_under_the_same_key() -> None:
    asked = questions(BY_NAME["asked twice"], "p", 3, Random(1))
    assert [one.key for one in asked] == ["p-00000", "p-00000", "p-00001", "p-00001", "p-00002", "p-00002"]


def test_recovery_lasts_until_the_last_request_that_was_asked_before_the_fault_was_over() -> None:
    asked = {"before": 1.0, "during": 5.0, "after": 9.0}
    injection = Injection(began=4.0, over=8.0)
    assert recovery_s(injection, asked, {"before": 4.5, "during": 11.0, "after": 20.0}) == 7.0
    assert recovery_s(injection, asked, {"before": 4.5, "during": 5.1}) == pytest.approx(1.1)
    assert recovery_s(injection, asked, {"during": 5.1}) is None
    assert recovery_s(injection, {"before": 1.0}, {"before": 2.0}) == 0.0


def made(
    name: str, *kinds: str, behind: int = 0, recovery: tuple[float | None, ...] = (1.0, 3.0), deaths: int = 0
) -> Round:
    findings = tuple(Finding(kind, "query", "a", "") for kind in kinds)  # type: ignore[arg-type]
    verdict = Verdict(100, findings, {"query": behind})
    guarantee, _, fault = name.partition(": ")
    return Round(BY_NAME[fault], guarantee, verdict, recovery, 0, deaths)  # type: ignore[arg-type]


def test_duplicates_break_only_the_stricter_promise() -> None:
    assert made("at_least_once: zombie", "duplicated").kept
    assert not made("exactly_once: zombie", "duplicated").kept
    assert not made("at_least_once: calm", "duplicated").kept
    assert not made("at_least_once: zombie", "lost").kept
    assert not made("at_least_once: zombie", recovery=(1.0, None)).kept


def test_what_is_no_reason_to_die_must_end_no_worker() -> None:
    assert not made("exactly_once: oversized", deaths=1).kept
    assert made("exactly_once: engine hung", deaths=1).kept


def test_the_table_has_a_line_for_each_round() -> None:
    rounds = [made("exactly_once: zombie"), made("at_least_once: zombie", "duplicated", "lost", "phantom", behind=2)]
    lines = table(rounds).splitlines()
    assert lines[2] == "| zombie | echo | exactly_once | 100 | 2 | 0 | 0 | 0 | 2.0 / 3.0 | yes |"
    assert lines[3] == "| zombie | echo | at_least_once | 100 | 2 | 1 | 1 | 3 | 2.0 / 3.0 | **no** |"
    assert "| engine hung | real |" in table([made("exactly_once: engine hung")])
    assert "never" in table([made("exactly_once: zombie", recovery=(1.0, None))])


def test_the_summary_adds_up_by_guarantee() -> None:
    result = summary([made("exactly_once: zombie"), made("at_least_once: zombie", "duplicated", "duplicated")])
    assert result["kept"] is True
    assert result["requests"] == 200
    assert result["exactly_once_duplicated"] == 0
    assert result["at_least_once_duplicated"] == 2


def test_faults_have_names_of_their_own_that_can_be_keys() -> None:
    assert len(BY_NAME) == len(ALL)
    assert PARTITIONS > 1
    assert all(fault.wish is None or fault.wishes for fault in ALL)
