"""``python -m bench.embed --data FOLDER``: what the embedding worker reaches of the bare model's speed, and what other
backends gain and lose.

The bare model in float32 and the worker with each backend embed the same texts in turn. The last line on standard
output is one JSON object.
"""

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory

import orjson

from backends.embedder import Embedder
from backends.kafka import KafkaSettings
from bench import retrieval_measures as measures
from bench.broker import running_broker
from bench.embed_options import PARTS, REFERENCE, VARIANTS, EmbedOptions, Texts, Variant, sample, settings_for, write
from bench.embed_quality import ndcg10_per_query
from bench.embed_speed import Pipeline, Raw, started
from bench.figures import paired_ratio, spread
from bench.hops_process import ROOT
from bench.kept_vectors import KeptVectors
from bench.report import say
from ragline.stages import create_embedder
from replay.evaluation.gold import DataError
from topics.admin import apply_topics
from topics.names import Namespace
from topics.settings import TopicSettings

# A backend that loses more is not the best, however fast it is.
MAX_LOSS = 0.005
_DATA_DIR = ROOT / ".ragline"


@dataclass(frozen=True, slots=True)
class Plan:
    """Texts of a block and blocks, for a CPU; a GPU embeds ``gpu`` times as many. Documents and queries of the quality,
    None for all.
    """

    questions: int
    chunks: int
    blocks: int
    gpu: int
    documents: int | None
    queries: int | None


FULL = Plan(questions=768, chunks=96, blocks=3, gpu=16, documents=None, queries=None)
SHORT = Plan(questions=64, chunks=32, blocks=1, gpu=1, documents=200, queries=20)


class Bench:
    """What runs, and on what."""

    def __init__(self, plan: Plan, data: Path, variants: Iterable[Variant], device: str, threads: int) -> None:
        self._plan = plan
        self._data = data
        self._variants = tuple(variants)
        self._device = device
        self._threads = threads

    async def speed(self) -> dict[str, float]:
        """Seconds of the bare model over those of the worker: ``speedup_NAME``, also of each part."""
        times = self._plan.gpu if self._device != "cpu" else 1
        texts = sample(self._data, self._plan.questions * times, self._plan.chunks * times)
        figures: dict[str, float] = {}
        with TemporaryDirectory(prefix="ragline-bench-") as folder:
            file = Path(folder) / "texts.json"
            write(texts, file)
            async with running_broker(_DATA_DIR, say) as kafka, started(self._options("raw", REFERENCE, file)) as raw:
                for variant in self._variants:
                    async with self._pipeline(kafka, variant, texts, file) as pipeline:
                        figures |= await self._against(Raw(raw), pipeline, variant)
        return figures

    async def quality(self, vectors: Path | None) -> dict[str, float]:
        """``ndcg10_NAME``, and how much that is less than the reference's: ``ndcg10_loss_NAME``, with its interval."""
        values: dict[str, list[float]] = {}
        for variant in dict.fromkeys((REFERENCE, *self._variants)):
            settings = settings_for(variant, self._device, self._threads, _DATA_DIR)
            embedder = create_embedder(settings, "embedding")
            kept: Embedder = KeptVectors(embedder, vectors / f"{variant.name}.npz") if vectors else embedder
            await kept.start()
            try:
                found = await ndcg10_per_query(kept, self._data, self._plan.documents, self._plan.queries)
            finally:
                await kept.close()
            values[variant.name] = found
            say(f"{variant.name}: nDCG@10 {mean(found):.4f}")
        return _losses(values)

    async def _against(self, raw: Raw, pipeline: Pipeline, variant: Variant) -> dict[str, float]:
        figures: dict[str, float] = {}
        for part in PARTS:
            # What is slow for the first time.
            await pipeline.seconds(part)
            ours_s: list[float] = []
            raw_s: list[float] = []
            # In turns, every other one turned round, so that a machine that is slow for a while is slow for both.
            for block in range(self._plan.blocks):
                for side, seconds in ((pipeline, ours_s), (raw, raw_s))[:: -1 if block % 2 else 1]:
                    seconds.append(await side.seconds(part))
            figures[f"speedup_{variant.name}_{part}"] = paired_ratio(raw_s, ours_s)
            for title, seconds in (("worker", ours_s), (f"bare {REFERENCE.name}", raw_s)):
                line = "{:.2f} s ({:.2f} to {:.2f})".format(*spread(seconds))
                say(f"{variant.name}, {part}: {title} {line}")
        # The worse holds.
        figures[f"speedup_{variant.name}"] = min(figures.values())
        return figures

    @asynccontextmanager
    async def _pipeline(
        self, kafka: KafkaSettings, variant: Variant, texts: Texts, file: Path
    ) -> AsyncIterator[Pipeline]:
        names = Namespace(f"bench-{variant.name}".replace("_", "-"))
        topics = TopicSettings()
        await apply_topics(kafka, topics, names)
        say(f"{variant.name}: starting the workers")
        address = {"bootstrap_servers": kafka.bootstrap_servers, "namespace": names.prefix}
        options = self._options("worker", variant, file).model_copy(update=address)
        async with started(options), Pipeline(kafka, names, texts, topics) as pipeline:
            yield pipeline

    def _options(self, kind: str, variant: Variant, file: Path) -> EmbedOptions:
        return EmbedOptions.model_validate(
            {
                "kind": kind,
                "variant": variant,
                "device": self._device,
                "threads": self._threads,
                "data_dir": _DATA_DIR,
                "texts": file,
            }
        )


def _losses(values: Mapping[str, Sequence[float]]) -> dict[str, float]:
    figures: dict[str, float] = {}
    reference = values[REFERENCE.name]
    for name, found in values.items():
        lost = [before - after for before, after in zip(reference, found, strict=True)]
        figures[f"ndcg10_{name}"] = mean(found)
        figures[f"ndcg10_loss_{name}"] = mean(lost)
        figures[f"ndcg10_loss_{name}_low"], figures[f"ndcg10_loss_{name}_high"] = measures.mean_interval(lost)
    return figures


def summary(figures: Mapping[str, float], names: Sequence[str]) -> dict[str, object]:
    """What is aimed at: ``worker_ratio``, and the fastest backend that loses no more than it may."""
    found: dict[str, object] = {}
    if f"speedup_{REFERENCE.name}" in figures:
        found["worker_ratio"] = figures[f"speedup_{REFERENCE.name}"]
    good = [name for name in names if figures.get(f"ndcg10_loss_{name}", 0.0) <= MAX_LOSS]
    if speeds := {name: figures[f"speedup_{name}"] for name in good if f"speedup_{name}" in figures}:
        best = max(speeds, key=speeds.__getitem__)
        found |= {"best_backend": best, "best_backend_speedup": speeds[best]}
        if f"ndcg10_loss_{best}" in figures:
            found["ndcg10_loss"] = figures[f"ndcg10_loss_{best}"]
    return found


async def measure(options: argparse.Namespace) -> dict[str, object]:
    """All figures: on the CPU, and those that begin with ``gpu_`` on a GPU if there is one.

    Raises:
        DataError: the folder holds no such data set.
    """
    plan = SHORT if options.short else FULL
    found: dict[str, object] = {"data": options.data.name, "threads": options.threads}
    for device in _devices(options.devices):
        # The other backends compute on the CPU.
        names = [name for name in options.backends if device == "cpu" or VARIANTS[name].backend == REFERENCE.backend]
        bench = Bench(plan, options.data, (VARIANTS[name] for name in names), device, options.threads)
        figures: dict[str, float] = {}
        if "speed" in options.parts:
            figures |= await bench.speed()
        if "quality" in options.parts:
            figures |= await bench.quality(options.vectors / device if options.vectors else None)
        prefix = "" if device == "cpu" else "gpu_"
        every = figures | summary(figures, names)
        found |= {
            f"{prefix}{name}": round(value, 4) if isinstance(value, float) else value for name, value in every.items()
        }
    return found


def _devices(wanted: Sequence[str]) -> list[str]:
    import torch  # noqa: PLC0415 - seconds that --help need not take

    if torch.cuda.is_available():
        return list(wanted)
    return [device for device in wanted if device == "cpu"]


def main() -> int:
    """Parse the command line, run, print."""
    parser = argparse.ArgumentParser(prog="bench.embed", description="Speed and quality of the embedding backends.")
    parser.add_argument("--data", type=Path, required=True, help="folder of a data set in BEIR's form")
    parser.add_argument("--short", action="store_true", help="few texts, to see that everything runs; not to be quoted")
    parser.add_argument("--parts", nargs="+", choices=("speed", "quality"), default=("speed", "quality"))
    parser.add_argument("--backends", nargs="+", choices=VARIANTS, default=tuple(VARIANTS), help="only these")
    parser.add_argument("--devices", nargs="+", choices=("cpu", "cuda"), default=("cpu", "cuda"))
    parser.add_argument("--threads", type=int, default=1, help="of a forward pass, on either side")
    parser.add_argument("--vectors", type=Path, help="folder that keeps embeddings for the next run's quality")
    try:
        figures = asyncio.run(measure(parser.parse_args()))
    except DataError as error:
        say(str(error))
        return 1
    print(orjson.dumps(figures).decode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
