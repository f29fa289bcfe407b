"""``python -m bench.retrieval --data FOLDER``: how good and how fast retrieval is, on a data set in BEIR's form.

Documents and questions go through the stages' own code and a Milvus of the local stack; how fast it is, is measured
through Kafka too, with a worker for each stage. The last line on standard output is one JSON object.
"""

import argparse
import asyncio
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import mean

import orjson

from backends.sentence_transformers_embedder import SentenceTransformersEmbedder
from bench import retrieval_measures as measures
from bench.broker import running_milvus
from bench.kept_vectors import KeptVectors
from bench.report import say
from bench.retrieval_choice import choose
from bench.retrieval_speed import speed
from bench.retrieval_system import System
from ragline.settings import Settings
from ragline.stages import with_local_models
from replay.beir import read_documents, read_qrels, read_queries
from replay.evaluation.gold import DataError, Qrels

_BEST = 10
_DEPTH = 100
WAYS = {
    "dense": {"mode": "dense"},
    "sparse": {"mode": "sparse"},
    "hybrid": {"mode": "hybrid"},
    "hybrid_late_interaction": {"mode": "hybrid", "rerank": "late_interaction"},
}
# Several questions find the same passages: what one of them read serves the next.
_CACHE_MB = 2_048


@dataclass(frozen=True, slots=True)
class Plan:
    """How many documents and queries of the data set, and questions one at a time and many at once; None is all."""

    documents: int | None
    queries: int | None
    single: int
    loaded: int


FULL = Plan(documents=None, queries=None, single=200, loaded=3_000)
SHORT = Plan(documents=300, queries=8, single=5, loaded=128)


def settings_for(milvus_uri: str, threads: int) -> Settings:
    """The pipeline's own settings, but for what is said here."""
    return with_local_models(
        Settings.model_validate(
            {
                "milvus": {"uri": milvus_uri, "timeout_ms": 60_000},
                "embedder": {"threads": threads},
                "query": {"min_score": -1},
                "retrieval": {"rerankers": ["late_interaction"], "late_interaction_cache_mb": _CACHE_MB},
            }
        )
    )


async def measure(options: argparse.Namespace, plan: Plan) -> dict[str, object]:
    """All figures, or what is best to choose.

    Raises:
        DataError: the folder holds no such data set.
    """
    data, split = options.data, options.split
    queries = read_queries(data)
    qrels = dict(islice(read_qrels(data, split).items(), plan.queries))
    questions = {query_id: queries[query_id] for query_id in qrels}
    async with running_milvus() as uri:
        settings = settings_for(uri, options.threads)
        embedder = SentenceTransformersEmbedder(settings.embedder)
        system = System(settings, KeptVectors(embedder, options.vectors) if options.vectors else embedder)
        async with system.running():
            async for done in system.fill(islice(read_documents(data), plan.documents)):
                if done % 1_024 == 0:
                    say(f"{done} documents are searchable")
            await system.flush()
            if options.choose:
                [one, *_] = await system.accept(questions)
                found = await choose(system, questions, qrels, one.event.options, settings.retrieval, say)
            else:
                found = await quality(system, questions, qrels)
        # The workers of the next part need the machine.
        if not options.choose:
            found |= await speed(questions, uri, plan.single, plan.loaded, say)
    return {"data": data.name, "split": split, "queries": len(questions), **found}


async def quality(system: System, questions: Mapping[str, str], qrels: Qrels) -> dict[str, object]:
    """How well each way of searching ranks; the best is named."""
    figures: dict[str, object] = {}
    means: dict[str, float] = {}
    for name, options in WAYS.items():
        run = await system.rankings(questions, top_k=_BEST, **options)
        values = measures.per_query(measures.NDCG_AT_10, qrels, run)
        figures |= measures.figures(f"ndcg10_{name}", values)
        means[name] = mean(values)
        say(f"nDCG@10 {name}: {means[name]:.4f}")
        if name == "hybrid":
            run = await system.rankings(questions, top_k=_DEPTH, **options)
            figures |= measures.figures("recall100_hybrid", measures.per_query(measures.RECALL_AT_100, qrels, run))
    best = max(means, key=means.__getitem__)
    return figures | {
        "best": best,
        "ndcg10_best": figures[f"ndcg10_{best}"],
        "ndcg10_best_95": figures[f"ndcg10_{best}_95"],
    }


def main() -> int:
    """Parse the command line, run, print."""
    parser = argparse.ArgumentParser(prog="bench.retrieval", description="Quality and speed of retrieval.")
    parser.add_argument("--data", type=Path, required=True, help="folder of a data set in BEIR's form")
    parser.add_argument("--split", default="test", help="qrels/SPLIT.tsv; what is chosen is chosen on train")
    parser.add_argument(
        "--choose", action="store_true", help="find the best weights on the split, measure nothing else"
    )
    parser.add_argument("--vectors", type=Path, help="file (.npz) that keeps embeddings for the next run")
    parser.add_argument("--threads", type=int, default=0, help="of the embedder; 0 leaves the number to torch")
    parser.add_argument("--short", action="store_true", help="a few documents and queries, to see that everything runs")
    options = parser.parse_args()
    try:
        figures = asyncio.run(measure(options, SHORT if options.short else FULL))
    except DataError as error:
        say(str(error))
        return 1
    print(orjson.dumps(figures).decode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
