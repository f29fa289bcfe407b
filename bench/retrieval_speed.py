"""How fast questions find their passages, one at a time and many at once: through Kafka and a worker for each stage."""

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from itertools import cycle, islice
from statistics import median

from backends.kafka import KafkaSettings
from bench.broker import running_broker
from bench.figures import percentile, rounded
from bench.hops_process import ROOT
from bench.retrieval_clients import Measured, running_clients
from bench.stages_process import StageOptions, Usage, stages_process, usage_of
from infra.local.report import Report
from ragline.settings import Settings
from topics.admin import apply_topics
from topics.settings import TopicSettings

# Two of retrieval: one ranks what it found while the other waits for Milvus.
WORKERS = {"query": 1, "embedding": 1, "retrieval": 2}
CONCURRENT = 64
_PARTITIONS = 6
_TOP_K = 5
_WARM_UP = 128
_NAMESPACE = "bench"


async def speed(
    questions: Mapping[str, str], milvus_uri: str, single: int, loaded: int, report: Report
) -> dict[str, float]:
    """Questions a second, latencies and CPU time in milliseconds, in the default mode, from a collection that is there.

    ``single`` questions are asked one after the other, ``loaded`` by clients that are ``CONCURRENT`` at a time.
    """
    async with AsyncExitStack() as stack:
        kafka = await stack.enter_async_context(running_broker(ROOT / ".ragline", report))
        settings = Settings.model_validate(_settings(kafka, milvus_uri))
        await apply_topics(kafka, TopicSettings(partitions=_PARTITIONS), settings.names)
        usages = {"milvus": [usage_of("milvus_lite")]}
        for stage, workers in WORKERS.items():
            options = StageOptions(stages=(stage,), settings=_settings(kafka, milvus_uri))
            usages[stage] = [await stack.enter_async_context(stages_process(options)) for _ in range(workers)]
        clients = await stack.enter_async_context(running_clients(kafka, settings.names, _PARTITIONS))
        texts = list(questions.values())
        await clients.ask(_some(texts, _WARM_UP), CONCURRENT, _TOP_K)
        figures: dict[str, float] = {}
        for name, count, concurrent in (("single", single, 1), ("loaded", loaded, CONCURRENT)):
            before = _cpu_s(usages)
            measured = await clients.ask(_some(texts, count), concurrent, _TOP_K)
            used = {of: (after - before[of]) * 1000 / count for of, after in _cpu_s(usages).items()}
            figures |= _figures(name, measured, used)
            report(f"{concurrent} at a time: {rounded(_figures(name, measured, used))}")
        return rounded(figures | {"qps_ratio": figures["qps_loaded"] / figures["qps_single"]})


def _figures(name: str, measured: Measured, cpu_ms: Mapping[str, float]) -> dict[str, float]:
    figures = {
        f"qps_{name}": measured.qps,
        f"{name}_p50_ms": percentile(measured.latencies_ms, 0.5),
        f"{name}_p95_ms": percentile(measured.latencies_ms, 0.95),
    }
    figures |= {f"{name}_{stage}_ms": median(values) for stage, values in measured.stages_ms.items()}
    return figures | {f"{name}_{of}_cpu_ms": used for of, used in cpu_ms.items()}


def _cpu_s(usages: Mapping[str, Sequence[Usage]]) -> dict[str, float]:
    return {name: sum(usage.cpu_s() for usage in some) for name, some in usages.items()}


def _some(texts: Sequence[str], count: int) -> list[str]:
    return list(islice(cycle(texts), count))


def _settings(kafka: KafkaSettings, milvus_uri: str) -> dict[str, object]:
    return {
        "namespace": _NAMESPACE,
        "kafka": {"bootstrap_servers": kafka.bootstrap_servers},
        "milvus": {"uri": milvus_uri},
    }
