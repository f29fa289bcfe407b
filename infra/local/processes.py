"""The processes of the local stack, from its configuration."""

import os
from collections.abc import Mapping

from infra.local.config import HOST, STAGES, Page, StackConfig
from infra.local.kafka import KafkaNode, jars_path, kafka_process, single_node
from infra.local.milvus import milvus_process
from infra.local.models import embedder_path, engine_path
from infra.local.probes import http_ok
from infra.local.process import ProcessSpec
from infra.local.valkey import valkey_process

# Beyond its drain, a worker commits, leaves its group and closes its engine.
_STOP_MARGIN_S = 10.0
_EVERYWHERE = ("", "0.0.0.0", "::")  # noqa: S104 - compared with, not bound to


def server_specs(config: StackConfig) -> list[ProcessSpec]:
    """The servers that no configured address stands for."""
    local, data_dir = config.local, config.data_dir
    specs = []
    if "kafka" in config.servers:
        specs.append(kafka_process(kafka_node(config), jars_path(data_dir)))
    if "milvus" in config.servers:
        specs.append(milvus_process(data_dir / "milvus", HOST, local.milvus_port))
    if "redis" in config.servers:
        specs.append(valkey_process(data_dir / "valkey", HOST, local.redis_port))
    return specs


def kafka_node(config: StackConfig) -> KafkaNode:
    """The only node of the local stack's Kafka."""
    local = config.local
    return single_node(config.data_dir / "kafka", HOST, local.kafka_port, local.kafka_controller_port)


def worker_specs(config: StackConfig, cores: int) -> list[ProcessSpec]:
    """Workers, monitor and bridge; ``cores`` is the number of processor cores they may use."""
    if config.only_infra:
        return []
    specs = [
        ProcessSpec(
            name=name,
            stage=stage,
            argv=(*config.command, "worker", stage),
            env={
                **_environment(config, _threads(config, stage, cores)),
                "RAGLINE_RUNTIME__HTTP_HOST": HOST,
                "RAGLINE_RUNTIME__HTTP_PORT": str(port),
            },
            ready=http_ok(HOST, port, "/readyz"),
            http_port=port,
            stop_grace_s=config.drain_timeout_s + _STOP_MARGIN_S,
        )
        for name, stage, port in workers(config)
    ]
    for name, page in (("monitor", config.monitor), ("bridge", config.bridge)):
        specs.append(
            ProcessSpec(
                name=name,
                stage=name,
                argv=(*config.command, name),
                env=_environment(config, threads=1),
                ready=http_ok(_reachable(page), page.port, "/readyz"),
                http_port=page.port,
            )
        )
    return specs


def workers(config: StackConfig) -> list[tuple[str, str, int]]:
    """Name, stage and HTTP port of each worker."""
    if config.only_infra:
        return []
    named = [
        (stage if number == 1 else f"{stage}-{number}", stage)
        for stage in STAGES
        for number in range(1, config.scale.get(stage, 1) + 1)
    ]
    return [(name, stage, config.local.worker_port + index) for index, (name, stage) in enumerate(named)]


def _threads(config: StackConfig, stage: str, cores: int) -> int:
    """Threads for computing: all cores are for generation, which everybody waits for; the rest is short work."""
    return max(1, cores // config.scale.get("generation", 1)) if stage == "generation" else 1


def _environment(config: StackConfig, threads: int) -> Mapping[str, str]:
    addresses = {
        "RAGLINE_KAFKA__BOOTSTRAP_SERVERS": config.kafka_bootstrap_servers,
        "RAGLINE_MILVUS__URI": config.milvus_uri,
        "RAGLINE_REDIS__URL": config.redis_url,
        "RAGLINE_EMBEDDER__PATH": config.embedder or str(embedder_path()),
    }
    tuned = tuning(threads)
    if config.needs_engine_model:
        addresses["RAGLINE_ENGINE__PATH"] = config.engine or str(engine_path(config.data_dir))
    if not config.embedder and not (config.needs_engine_model and config.engine):
        # Both models are here: nothing is asked of a hub, and nothing waits for one.
        tuned["HF_HUB_OFFLINE"] = "1"
    return {name: value for name, value in tuned.items() if name not in config.environment} | addresses


def tuning(threads: int) -> dict[str, str]:
    """Environment variables of a worker that computes with so many threads."""
    return {
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": str(threads),
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
    }


def _reachable(page: Page) -> str:
    return HOST if page.host in _EVERYWHERE else page.host


def available_cores() -> int:
    """Processor cores this process may use."""
    return len(os.sched_getaffinity(0))
