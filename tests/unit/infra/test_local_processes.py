import dataclasses
from pathlib import Path
from typing import Any

import pytest

from infra.local.config import STAGES, StackConfig, stack_config
from infra.local.lag import INPUTS
from infra.local.preflight import ports
from infra.local.processes import server_specs, worker_specs
from infra.local.report import LocalStackError
from infra.settings import LocalSettings
from ragline.settings import Settings


def config(tmp_path: Path, **changes: Any) -> StackConfig:
    settings = Settings(local=LocalSettings(data_dir=tmp_path))
    made = stack_config(settings, command=("ragline",), environment={}, scale={}, only_infra=False, quiet=False)
    return dataclasses.replace(made, **changes)


def test_all_servers_and_workers(tmp_path: Path) -> None:
    made = config(tmp_path)
    assert [spec.name for spec in server_specs(made)] == ["kafka", "milvus", "valkey"]
    assert [spec.name for spec in worker_specs(made, cores=2)] == [*STAGES, "monitor", "bridge"]


def test_a_configured_server_is_not_started(tmp_path: Path) -> None:
    settings = Settings.model_validate({"local": {"data_dir": tmp_path}, "redis": {"url": "redis://elsewhere:1/0"}})
    made = stack_config(settings, command=("ragline",), environment={}, scale={}, only_infra=False, quiet=False)
    assert [spec.name for spec in server_specs(made)] == ["kafka", "milvus"]
    assert worker_specs(made, cores=2)[0].env["RAGLINE_REDIS__URL"] == "redis://elsewhere:1/0"
    assert not any(port.purpose == "Valkey" for port in ports(made))


def test_only_infra(tmp_path: Path) -> None:
    made = config(tmp_path, only_infra=True)
    assert worker_specs(made, cores=2) == []
    assert {port.purpose for port in ports(made)} == {"Kafka", "Kafka's controller", "Milvus", "Valkey"}


def test_scaled_workers_have_names_ports_and_cores_of_their_own(tmp_path: Path) -> None:
    specs = worker_specs(config(tmp_path, scale={"generation": 2, "prompt": 0}), cores=4)
    names = [spec.name for spec in specs]
    assert names[:3] == ["generation", "generation-2", "embedding"]
    assert "prompt" not in names
    used = [spec.http_port for spec in specs]
    assert len(set(used)) == len(used)
    assert specs[1].argv == ("ragline", "worker", "generation")
    assert specs[1].env["RAGLINE_RUNTIME__HTTP_PORT"] == str(specs[1].http_port) == "9401"
    assert [spec.env["OMP_NUM_THREADS"] for spec in specs[:3]] == ["2", "2", "1"]


def test_a_variable_that_the_caller_has_set_is_left_alone(tmp_path: Path) -> None:
    made = config(tmp_path, environment={"OMP_NUM_THREADS": "7"})
    assert all("OMP_NUM_THREADS" not in spec.env for spec in worker_specs(made, cores=4))


def test_local_models_ask_no_hub(tmp_path: Path) -> None:
    environment = worker_specs(config(tmp_path), cores=1)[0].env
    assert environment["HF_HUB_OFFLINE"] == "1"
    assert environment["RAGLINE_ENGINE__PATH"] == str(tmp_path / "models" / "SmolLM2-135M-Instruct")


def test_a_model_of_a_hub_may_be_fetched(tmp_path: Path) -> None:
    environment = worker_specs(config(tmp_path, engine="someone/some-model"), cores=1)[0].env
    assert "HF_HUB_OFFLINE" not in environment
    assert environment["RAGLINE_ENGINE__PATH"] == "someone/some-model"


@pytest.mark.parametrize(
    ("scale", "sentence"),
    [({"genration": 2}, "there is no stage 'genration'"), ({"generation": -1}, "cannot be negative")],
)
def test_a_wrong_scale(tmp_path: Path, scale: dict[str, int], sentence: str) -> None:
    with pytest.raises(LocalStackError, match=sentence):
        config(tmp_path, scale=scale)


def test_every_stage_has_its_inputs() -> None:
    assert set(INPUTS) == set(STAGES)
