"""The short campaign: workers, brokers and systems outside are killed, and the oracle accounts for every request."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures.servers import SHARED_DATA_DIR, screen

pytestmark = [pytest.mark.servers, pytest.mark.models]

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 900


@pytest.mark.timeout(TIMEOUT_S + 30)
def test_no_fault_loses_a_request_and_none_repeats_one_exactly_once(pytestconfig: pytest.Config) -> None:
    screen(pytestconfig)("the short fault campaign, less than four minutes")
    run = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-m", "faults", "--short", "--data-dir", str(SHARED_DATA_DIR)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    said = f"{run.stdout}\n{run.stderr}"
    assert run.returncode == 0, said
    result = json.loads(run.stdout.splitlines()[-1])
    assert result["kept"], said
    assert result["exactly_once_lost"] == result["exactly_once_duplicated"] == result["at_least_once_lost"] == 0
    rounds = {(made["fault"], made["guarantee"]): made for made in result["rounds"]}
    assert all(made["injected"] for made in rounds.values()), said
    hung = rounds["engine hung", "exactly_once"]
    assert hung["worker_deaths"] == hung["injected"], said
    assert hung["later_attempts"] > 0, said
    assert all(made["streams"] for (fault, _), made in rounds.items() if fault in {"redis gone", "engine hung"}), said
