"""``python -m bench.retrieval --data FOLDER``: how good and how fast retrieval is, on a data set in BEIR's form.

Documents and questions go through the stages' own code and a Milvus of the local stack. The last line on standard
output is one JSON object.
"""

import argparse
import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path

import orjson

from backends.sentence_transformers_embedder import SentenceTransformersEmbedder
from bench import retrieval_measures as measures
from bench.beir import DataError, Qrels, read_documents, read_qrels, read_queries
from bench.broker import running_milvus
from bench.kept_vectors import KeptVectors
from bench.retrieval_system import System
from ragline.settings import Settings
from ragline.stages import with_local_models
from schemas.values import RetrievalMode

_DEPTH = 100
_MODES: tuple[RetrievalMode, ...] = ("dense", "sparse", "hybrid")
_SAY_EVERY = 512


def settings_for(milvus_uri: str, threads: int) -> Settings:
    """The pipeline's own settings, but for what is said here."""
    return with_local_models(
        Settings.model_validate(
            {
                "milvus": {"uri": milvus_uri, "timeout_ms": 60_000},
                "embedder": {"threads": threads},
                "query": {"top_k": _DEPTH, "min_score": -1},
            }
        )
    )


async def measure(data: Path, split: str, vectors: Path | None, threads: int) -> dict[str, object]:
    """All figures.

    Raises:
        DataError: the folder holds no such data set.
    """
    qrels = read_qrels(data, split)
    queries = read_queries(data)
    questions = {query_id: queries[query_id] for query_id in qrels}
    async with running_milvus() as uri:
        settings = settings_for(uri, threads)
        embedder = SentenceTransformersEmbedder(settings.embedder)
        system = System(settings, KeptVectors(embedder, vectors) if vectors else embedder)
        async with system.running():
            async for done in system.fill(read_documents(data)):
                if done % _SAY_EVERY == 0:
                    say(f"{done} documents are searchable")
            found = await quality(system, questions, qrels)
    return {"data": data.name, "split": split, "queries": len(questions), **found}


async def quality(system: System, questions: Mapping[str, str], qrels: Qrels) -> dict[str, object]:
    """How well each mode ranks."""
    figures: dict[str, object] = {}
    for mode in _MODES:
        run = await system.rankings(questions, mode=mode)
        values = measures.per_query(measures.NDCG_AT_10, qrels, run)
        figures |= measures.figures(f"ndcg10_{mode}", values)
        say(f"{mode}: {figures[f'ndcg10_{mode}']}")
        if mode == "hybrid":
            figures |= measures.figures("recall100_hybrid", measures.per_query(measures.RECALL_AT_100, qrels, run))
    return figures


def say(line: str) -> None:
    """Tell the person what goes on."""
    print(line, file=sys.stderr, flush=True)


def main() -> int:
    """Parse the command line, run, print."""
    parser = argparse.ArgumentParser(prog="bench.retrieval", description="Quality and speed of retrieval.")
    parser.add_argument("--data", type=Path, required=True, help="folder of a data set in BEIR's form")
    parser.add_argument("--split", default="test", help="qrels/SPLIT.tsv; what is tuned is tuned on train")
    parser.add_argument("--vectors", type=Path, help="file (.npz) that keeps embeddings for the next run")
    parser.add_argument("--threads", type=int, default=0, help="of the embedder; 0 leaves the number to torch")
    options = parser.parse_args()
    try:
        figures = asyncio.run(measure(options.data, options.split, options.vectors, options.threads))
    except DataError as error:
        say(str(error))
        return 1
    print(orjson.dumps(figures).decode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
