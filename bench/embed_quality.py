"""How well vectors rank: exact search over all documents of a data set in BEIR's form."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from backends.embedder import Embedder
from bench import retrieval_measures as measures
from bench.embed_options import joined
from replay.beir import read_documents, read_qrels, read_queries
from replay.evaluation.gold import Qrels
from schemas.values import FloatArray
from workers.chunk_embedding import MAX_TITLE_CHARS

_BATCH = 128
_DEPTH = 10


async def ndcg10_per_query(embedder: Embedder, data: Path, documents: int | None, queries: int | None) -> list[float]:
    """nDCG@10 of each test query among the first so many documents; None takes all.

    Raises:
        DataError: the folder holds no such data set.
    """
    qrels: Qrels = dict(islice(read_qrels(data, "test").items(), queries))
    texts = read_queries(data)
    read = list(islice(read_documents(data), documents))
    passages = await _embedded(
        embedder, [joined(document.title[:MAX_TITLE_CHARS].strip(), document.text) for _, document in read]
    )
    questions = await _embedded(embedder, [texts[query_id] for query_id in qrels])
    return measures.per_query(
        measures.NDCG_AT_10,
        qrels,
        _ranked(questions @ passages.T, list(qrels), [document_id for document_id, _ in read]),
    )


async def _embedded(embedder: Embedder, texts: Sequence[str]) -> FloatArray:
    starts = range(0, len(texts), _BATCH)
    return np.concatenate([await embedder.embed(texts[start : start + _BATCH]) for start in starts])


def _ranked(scores: FloatArray, query_ids: Sequence[str], document_ids: Sequence[str]) -> dict[str, dict[str, float]]:
    best = np.argsort(-scores, axis=1, kind="stable")[:, :_DEPTH]
    return {
        query_id: {document_ids[position]: float(row[position]) for position in positions}
        for query_id, row, positions in zip(query_ids, scores, best, strict=True)
    }
