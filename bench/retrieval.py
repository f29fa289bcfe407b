"""``python -m bench.retrieval --data FOLDER``: how good and how fast retrieval is, on a data set in BEIR's form.

Documents and questions go through the stages' own code and a Milvus of the local stack. The last line on standard
output is one JSON object.
"""

import argparse
import asyncio
import sys
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from statistics import mean

import orjson

from backends.sentence_transformers_embedder import SentenceTransformersEmbedder
from bench import retrieval_measures as measures
from bench.broker import running_milvus
from bench.kept_vectors import KeptVectors
from bench.retrieval_speed import speed
from bench.retrieval_system import System
from ragline.settings import Settings
from ragline.stages import with_local_models
from replay.beir import read_documents, read_qrels, read_queries
from replay.evaluation.gold import DataError, Qrels

_DEPTH = 100
WAYS = {
    "dense": {"mode": "dense"},
    "sparse": {"mode": "sparse"},
    "hybrid": {"mode": "hybrid"},
    "hybrid_late_interaction": {"mode": "hybrid", "rerank": "late_interaction"},
}
_FLUSH_EVERY = 512


def settings_for(milvus_uri: str, threads: int) -> Settings:
    """The pipeline's own settings, but for what is said here."""
    return with_local_models(
        Settings.model_validate(
            {
                "milvus": {"uri": milvus_uri, "timeout_ms": 60_000},
                "embedder": {"threads": threads},
                "query": {"top_k": _DEPTH, "min_score": -1},
                "retrieval": {"rerankers": ["late_interaction"]},
            }
        )
    )


async def measure(data: Path, split: str, limit: int | None, vectors: Path | None, threads: int) -> dict[str, object]:
    """All figures.

    Raises:
        DataError: the folder holds no such data set.
    """
    queries = read_queries(data)
    qrels = dict(islice(read_qrels(data, split).items(), limit))
    questions = {query_id: queries[query_id] for query_id in qrels}
    async with running_milvus() as uri:
        settings = settings_for(uri, threads)
        embedder = SentenceTransformersEmbedder(settings.embedder)
        system = System(settings, KeptVectors(embedder, vectors) if vectors else embedder)
        async with system.running():
            async for done in system.fill(read_documents(data)):
                if done % _FLUSH_EVERY == 0:
                    # What is not in the index yet is read row by row.
                    await system.flush()
                    say(f"{done} documents are searchable")
            await system.flush()
            found = await quality(system, questions, qrels) | await speed(system, questions)
    return {"data": data.name, "split": split, "queries": len(questions), **found}


async def quality(system: System, questions: Mapping[str, str], qrels: Qrels) -> dict[str, object]:
    """How well each way of searching ranks; the best is named."""
    figures: dict[str, object] = {}
    means: dict[str, float] = {}
    for name, options in WAYS.items():
        run = await system.rankings(questions, **options)
        values = measures.per_query(measures.NDCG_AT_10, qrels, run)
        figures |= measures.figures(f"ndcg10_{name}", values)
        means[name] = mean(values)
        say(f"nDCG@10 {name}: {means[name]:.4f}")
        if name == "hybrid":
            figures |= measures.figures("recall100_hybrid", measures.per_query(measures.RECALL_AT_100, qrels, run))
    best = max(means, key=means.__getitem__)
    return figures | {
        "best": best,
        "ndcg10_best": figures[f"ndcg10_{best}"],
        "ndcg10_best_95": figures[f"ndcg10_{best}_95"],
    }


def say(line: str) -> None:
    """Tell the person what goes on."""
    print(line, file=sys.stderr, flush=True)


def main() -> int:
    """Parse the command line, run, print."""
    parser = argparse.ArgumentParser(prog="bench.retrieval", description="Quality and speed of retrieval.")
    parser.add_argument("--data", type=Path, required=True, help="folder of a data set in BEIR's form")
    parser.add_argument("--split", default="test", help="qrels/SPLIT.tsv; what is tuned is tuned on train")
    parser.add_argument("--queries", type=int, help="only the first so many")
    parser.add_argument("--vectors", type=Path, help="file (.npz) that keeps embeddings for the next run")
    parser.add_argument("--threads", type=int, default=0, help="of the embedder; 0 leaves the number to torch")
    options = parser.parse_args()
    try:
        figures = asyncio.run(measure(options.data, options.split, options.queries, options.vectors, options.threads))
    except DataError as error:
        say(str(error))
        return 1
    print(orjson.dumps(figures).decode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
