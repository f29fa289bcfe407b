"""Data flows one way, and so do imports; settings come in at the top; a stage knows no Kafka."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# What each package may import, besides itself.
ALLOWED: dict[str, set[str]] = {
    "schemas": set(),
    "topics": {"schemas"},
    "backends": {"schemas", "topics"},
    "workers": {"schemas", "topics", "backends"},
    "infra": {"schemas", "topics", "backends"},
    "bridge": {"schemas", "topics", "backends", "workers"},
    "replay": {"schemas", "topics", "backends", "workers"},
    "ragline": {"schemas", "topics", "backends", "workers", "bridge", "replay", "infra"},
}
PACKAGES = set(ALLOWED)

# The modules that look at the environment themselves, and why.
READ_ENVIRONMENT = {
    "backends/vllm_engine.py": "vLLM is configured by environment variables only",
    "infra/local/step.py": "hands its environment on to the program it runs",
    "infra/local/supervised.py": "hands its environment on to the process it starts",
    "infra/setup/program.py": "runs before there are settings, and hands the environment on to pip and uv",
    "ragline/replay_workers.py": "leaves alone what its environment says of threads",
    "ragline/stack.py": "hands its environment on to the processes it starts",
    "workers/runtime/tracing.py": "OpenTelemetry's exporter is configured by its own variables; here: whether it is",
}

# Modules of workers/ that are no stage: the monitor is a Faust application and stands on the runtime's helpers.
NO_STAGE = {"monitor.py", "monitor_app.py", "timelines.py"}


def modules(folder: str = ".") -> list[Path]:
    """Python files of the packages, relative to the root."""
    found = [
        path.relative_to(ROOT)
        for package in sorted(PACKAGES)
        for path in sorted((ROOT / package).rglob("*.py"))
        if path.relative_to(ROOT).is_relative_to(folder)
    ]
    assert found
    return found


def imports(module: Path) -> Iterator[str]:
    """Names of the modules a file imports, anywhere in it."""
    for node in ast.walk(ast.parse((ROOT / module).read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            assert node.module
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def external_packages(module: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(module)}


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_imports_point_downward(package: str) -> None:
    for module in modules(package):
        upward = (external_packages(module) & PACKAGES) - ALLOWED[package] - {package}
        assert not upward, f"{module} imports {', '.join(sorted(upward))}"


def test_set_up_needs_nothing_but_the_standard_library() -> None:
    for module in modules("infra/setup"):
        foreign = external_packages(module) - sys.stdlib_module_names - {"infra"}
        assert not foreign, f"{module} imports {', '.join(sorted(foreign))}"


def test_no_module_reads_the_environment_by_itself() -> None:
    readers = {str(module) for module in modules() if reads_environment(module)}
    assert readers == READ_ENVIRONMENT.keys()


def reads_environment(module: Path) -> bool:
    return any(
        isinstance(node, ast.Attribute)
        and node.attr in {"environ", "environb", "getenv"}
        and isinstance(node.value, ast.Name)
        and node.value.id == "os"
        for node in ast.walk(ast.parse((ROOT / module).read_text()))
    )


def test_no_stage_knows_kafka_or_more_of_the_runtime_than_what_a_stage_is() -> None:
    for module in sorted(path for path in modules("workers") if len(path.parts) == 2 and path.name not in NO_STAGE):
        for name in imports(module):
            assert not name.startswith(("aiokafka", "faust")), f"{module} imports {name}"
            of_runtime = name == "workers.runtime" or name.startswith("workers.runtime.")
            assert not of_runtime or name.startswith("workers.runtime.stage"), f"{module} imports {name}"
