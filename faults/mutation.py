"""Plants each defect and checks that the oracle sees it, and sees nothing where there is none."""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from faults.campaign import Guarantee, Round
from faults.fault import Fault
from faults.injections import BY_NAME
from faults.mutants import Mutant
from faults.oracle import Kind

# Runs one fault under one guarantee, with a defect planted or without.
RunOne: TypeAlias = Callable[[Guarantee, Fault, Mutant | None], Coroutine[Any, Any, Round]]


@dataclass(frozen=True, slots=True)
class Case:
    """A defect, the fault that brings it to light, and what the oracle must find then."""

    mutant: Mutant
    guarantee: Guarantee
    fault: str
    expected: Kind


CASES = (
    Case("fencing_off", "exactly_once", "zombie", "duplicated"),
    Case("commit_before_acks", "at_least_once", "kill before send", "lost"),
    Case("watermark_ignores_gaps", "at_least_once", "kill out of order", "lost"),
)


@dataclass(frozen=True, slots=True)
class Trial:
    """A case, run with the defect and without."""

    case: Case
    mutated: Round
    control: Round

    @property
    def caught(self) -> bool:
        """Found with the defect, in the way expected; and nothing amiss without it."""
        return self.control.kept and not self.mutated.kept and self.mutated.verdict.count(self.case.expected) > 0


async def try_all(run_one: RunOne, cases: Sequence[Case]) -> list[Trial]:
    """Run all cases; those with the same fault share the run without a defect."""
    controls: dict[tuple[Guarantee, str], Round] = {}
    trials = []
    for case in cases:
        fault = BY_NAME[case.fault]
        if (case.guarantee, case.fault) not in controls:
            controls[case.guarantee, case.fault] = await run_one(case.guarantee, fault, None)
        mutated = await run_one(case.guarantee, fault, case.mutant)
        trials.append(Trial(case, mutated, controls[case.guarantee, case.fault]))
    return trials


def summary(trials: Sequence[Trial]) -> Mapping[str, object]:
    """One object for programs."""
    return {
        "caught": all(trial.caught for trial in trials),
        "mutants": [
            {
                "mutant": trial.case.mutant,
                "guarantee": trial.case.guarantee,
                "fault": trial.case.fault,
                "expected": trial.case.expected,
                "found": trial.mutated.verdict.count(trial.case.expected),
                "found_without": trial.control.verdict.count(trial.case.expected),
                "caught": trial.caught,
            }
            for trial in trials
        ],
    }
