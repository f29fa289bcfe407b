"""docker-compose.yml and the files it uses, as far as a machine without a Docker engine can tell."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from prometheus_client import generate_latest
from pydantic import BaseModel

from ragline.settings import Settings
from topics.specs import all_topics
from workers.monitor_pages import MonitorMetrics
from workers.runtime.metrics import Metrics
from workers.runtime.settings import RuntimeSettings
from workers.timelines import Timelines

ROOT = Path(__file__).parents[3]
OBSERVABILITY = ROOT / "infra" / "containers" / "observability"
PROFILES = {"cpu", "gpu", "observability"}
ONE_SHOTS = {"topics-apply", "models"}
# Its image has no program that could ask.
WITHOUT_HEALTHCHECK = {"jaeger"}
WORKERS = {
    *("query", "embedding", "retrieval", "prompt", "generation", "generation-gpu"),
    *("chunking", "chunk-embedding", "indexing", "projector"),
}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    document = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    assert isinstance(document, dict)
    return document


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found = compose["services"]
    assert isinstance(found, dict)
    return found


def setting_names(model: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        inner = field.annotation
        variable = f"{prefix}{name.upper()}"
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from setting_names(inner, f"{variable}__")
        else:
            yield variable


def interpolated(value: str) -> str:
    """What Compose makes of a value when nothing is set outside."""
    return re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", value)


def duration_s(text: str) -> int:
    return int(text.removesuffix("s"))


def command_of(service: dict[str, Any]) -> list[str]:
    command = service.get("command", [])
    assert isinstance(command, list)
    return command


def ours(services: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {name: service for name, service in services.items() if "build" in service}


def test_it_has_every_part_of_ragline(services: dict[str, dict[str, Any]]) -> None:
    assert set(ours(services)) == WORKERS | {"bridge", "monitor"} | ONE_SHOTS
    assert {"kafka", "milvus", "valkey", "vllm"} <= set(services)


def test_every_stage_has_a_worker(services: dict[str, dict[str, Any]]) -> None:
    owners = {spec.owner for spec in all_topics()} - {"upstream", "operator"} | {"projector"}
    stages = {command_of(services[name])[1] for name in WORKERS}
    assert all(command_of(services[name])[0] == "worker" for name in WORKERS)
    assert stages == owners


def test_what_is_built_is_built_from_files_that_are_there(services: dict[str, dict[str, Any]]) -> None:
    for service in ours(services).values():
        assert (ROOT / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
        assert service["image"].startswith("ragline:")


def test_every_other_image_has_a_version(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        assert re.search(r":v?\d+\.\d+", service["image"]), name


def test_the_vllm_server_has_the_version_that_is_locked(services: dict[str, dict[str, Any]]) -> None:
    locked = re.search(r"^vllm==([\d.]+)", (ROOT / "requirements" / "gpu.lock").read_text(), re.MULTILINE)
    assert locked
    assert services["vllm"]["image"] == f"vllm/vllm-openai:v{locked[1]}"


def test_the_profiles(services: dict[str, dict[str, Any]]) -> None:
    assert {profile for service in services.values() for profile in service.get("profiles", ())} == PROFILES
    by_profile = {
        profile: {name for name, service in services.items() if profile in service.get("profiles", ())}
        for profile in PROFILES
    }
    assert by_profile["cpu"] == {"generation"}
    assert by_profile["gpu"] == {"generation-gpu", "vllm", "models"}
    assert (ROOT / ".env").read_text().splitlines()[-1] == "COMPOSE_PROFILES=cpu"


def test_the_engine_of_each_profile(services: dict[str, dict[str, Any]]) -> None:
    assert services["generation"]["environment"]["RAGLINE_ENGINE__KIND"] == "vllm"
    environment = services["generation-gpu"]["environment"]
    assert environment["RAGLINE_ENGINE__KIND"] == "openai"
    assert environment["RAGLINE_ENGINE__BASE_URL"] == "http://vllm:8000/v1"
    assert f"--served-model-name={Settings().engine.model}" in command_of(services["vllm"])


def test_every_variable_is_a_setting(services: dict[str, dict[str, Any]]) -> None:
    known = set(setting_names(Settings, "RAGLINE_"))
    for name, service in ours(services).items():
        variables = {variable for variable in service["environment"] if variable.startswith("RAGLINE_")}
        assert variables <= known, name
    dockerfile = (ROOT / "infra" / "containers" / "Dockerfile").read_text()
    assert set(re.findall(r"RAGLINE_[A-Z_]+", dockerfile)) <= known


def test_the_settings_they_make_are_valid_and_start_no_local_servers(
    services: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for service in ours(services).values():
        with monkeypatch.context() as patch:
            for variable, value in service["environment"].items():
                patch.setenv(variable, interpolated(value))
            settings = Settings()
        assert settings.local_servers == ()
        assert settings.kafka.bootstrap_servers in services["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
        assert settings.runtime.http_port == 9400


def test_ports_are_open_on_loopback_only(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), name


def test_published_ports_differ(services: dict[str, dict[str, Any]]) -> None:
    ports = [port.split(":")[1] for service in services.values() for port in service.get("ports", ())]
    assert len(ports) == len(set(ports))


def test_what_runs_for_long_is_watched_and_started_again(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        if name in ONE_SHOTS:
            assert service["restart"] in {"no", "on-failure:3"}, name
        else:
            assert service["restart"] == "unless-stopped", name
            assert ("healthcheck" in service) == (name not in WITHOUT_HEALTHCHECK), name


def test_a_worker_has_time_to_drain(services: dict[str, dict[str, Any]]) -> None:
    for name in WORKERS:
        assert duration_s(services[name]["stop_grace_period"]) * 1000 > RuntimeSettings().drain_timeout_ms


def test_dependencies_can_be_met(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        for other, condition in service.get("depends_on", {}).items():
            assert other in services, name
            profiles = set(services[other].get("profiles", ()))
            assert not profiles or set(service.get("profiles", ())) <= profiles, name
            if condition["condition"] == "service_healthy":
                assert "healthcheck" in services[other], name
            if condition["condition"] == "service_completed_successfully":
                assert other in ONE_SHOTS, name


def test_every_part_waits_for_the_topics(services: dict[str, dict[str, Any]]) -> None:
    for name in ours(services).keys() - ONE_SHOTS:
        assert "topics-apply" in services[name]["depends_on"], name


def test_volumes_and_mounted_files_are_there(compose: dict[str, Any], services: dict[str, dict[str, Any]]) -> None:
    used = set()
    for service in services.values():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith("./"):
                assert (ROOT / source).exists(), source
            else:
                used.add(source)
    assert used == set(compose["volumes"])


def test_kafka_takes_the_largest_record_and_makes_no_topics(services: dict[str, dict[str, Any]]) -> None:
    environment = services["kafka"]["environment"]
    assert int(environment["KAFKA_MESSAGE_MAX_BYTES"]) > max(spec.max_message_bytes for spec in all_topics())
    assert environment["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"


def test_the_image_has_every_package() -> None:
    dockerfile = (ROOT / "infra" / "containers" / "Dockerfile").read_text()
    ignored = (ROOT / "infra" / "containers" / "Dockerfile.dockerignore").read_text()
    packages = re.search(r"^packages = \[(.*)\]$", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert packages
    for package in re.findall(r'"(\w+)"', packages[1]):
        assert f"COPY {package} {package}\n" in dockerfile
        assert f"!{package}\n" in ignored
    for lock in ("cpu", "gpu"):
        assert (ROOT / "requirements" / f"{lock}.lock").is_file()


def test_prometheus_asks_services_that_are_there(services: dict[str, dict[str, Any]]) -> None:
    jobs = yaml.safe_load((OBSERVABILITY / "prometheus.yml").read_text())["scrape_configs"]
    names = {job["job_name"]: set(job["dns_sd_configs"][0]["names"]) for job in jobs}
    assert names["workers"] == WORKERS
    assert set.union(*names.values()) <= set(services)


def test_the_dashboard_shows_metrics_that_are_there() -> None:
    metrics = generate_latest(Metrics("query").registry) + generate_latest(MonitorMetrics(Timelines(1, 1)).registry)
    known = set(re.findall(r"^# TYPE (\w+) ", metrics.decode(), re.MULTILINE))
    dashboard = orjson.loads((OBSERVABILITY / "grafana" / "dashboards" / "ragline.json").read_bytes())
    asked = {
        name.removesuffix("_bucket")
        for panel in dashboard["panels"]
        for target in panel["targets"]
        for name in re.findall(r"ragline_\w+", target["expr"])
    }
    assert asked
    assert asked <= known


def test_grafana_finds_its_sources_and_dashboards(services: dict[str, dict[str, Any]]) -> None:
    provisioning = OBSERVABILITY / "grafana" / "provisioning"
    sources = yaml.safe_load((provisioning / "datasources" / "datasources.yml").read_text())["datasources"]
    assert {re.split(r"[/:]+", source["url"])[1] for source in sources} <= set(services)
    [provider] = yaml.safe_load((provisioning / "dashboards" / "dashboards.yml").read_text())["providers"]
    mounted = {volume.split(":")[1]: volume.split(":")[0] for volume in services["grafana"]["volumes"]}
    assert (ROOT / mounted[provider["options"]["path"]] / "ragline.json").is_file()
    dashboard = orjson.loads((OBSERVABILITY / "grafana" / "dashboards" / "ragline.json").read_bytes())
    used = {panel["datasource"]["uid"] for panel in dashboard["panels"]}
    assert used <= {source["uid"] for source in sources}


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_docker_compose_accepts_it(profile: str) -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:  # noqa: S603 - asks Docker
        pytest.skip("needs Docker with its Compose plugin")
    checked = subprocess.run(  # noqa: S603
        [docker, "compose", "--profile", profile, "config", "--quiet"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr
