import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
INSTALL = "python3 -m infra.setup install --accel"


def planned(*arguments: str) -> list[str]:
    """The commands that make would run."""
    shown = subprocess.run(  # noqa: S603 - our own Makefile
        ["make", "--dry-run", "--no-print-directory", *arguments],  # noqa: S607
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [line.strip() for line in shown.stdout.splitlines()]


def test_without_a_target_the_targets_are_listed() -> None:
    assert planned() == planned("help")
    assert any("make demo" in line for line in planned())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["setup"], [f"{INSTALL} auto", ".venv/bin/python -m ragline.prepare"]),
        (["demo"], [f"{INSTALL} auto --ports", ".venv/bin/python -m ragline.prepare", ".venv/bin/ragline demo"]),
        (["demo", "ONCE=1", "ACCEL=gpu"], [f"{INSTALL} gpu --ports", ".venv/bin/ragline demo --once"]),
        (["test"], [".venv/bin/python -m ragline.prepare", ".venv/bin/mypy", ".venv/bin/pytest"]),
        (["test-fast"], [".venv/bin/mypy", ".venv/bin/pytest -m 'not servers and not models' tests/unit"]),
        (
            ["test-milvus"],
            [f"{INSTALL} auto", "python3 -m infra.setup milvus", ".venv/bin/pytest --milvus standalone"],
        ),
        (["lint"], [f"{INSTALL} auto", ".venv/bin/ruff check .", ".venv/bin/ruff format --check .", ".venv/bin/mypy"]),
        (["faults"], [f"{INSTALL} auto", ".venv/bin/python -m faults --document docs/faults.md"]),
        (["faults-short"], [f"{INSTALL} auto", ".venv/bin/python -m faults --short"]),
        (["faults-mutants"], [f"{INSTALL} auto", ".venv/bin/python -m faults --mutants"]),
        (
            ["bench-hops"],
            [".venv/bin/python -m ragline.prepare", "python3 -m infra.setup peers", ".venv/bin/python -m bench.hops"],
        ),
        (["lock"], ["python3 -m infra.setup lock"]),
        (["clean"], ["python3 -m infra.setup clean"]),
    ],
)
def test_targets_run_these_in_this_order(arguments: list[str], expected: list[str]) -> None:
    commands = planned(*arguments)
    found = [next(index for index, line in enumerate(commands) if line.startswith(step)) for step in expected]
    assert found == sorted(found)
    assert commands[-1].startswith(expected[-1])


def test_fast_tests_prepare_no_models() -> None:
    assert not any("ragline.prepare" in line for line in planned("test-fast"))


def test_ci_runs_the_whole_suite() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    assert script.read_text().rstrip().endswith("make test")
