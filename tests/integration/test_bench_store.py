"""The benchmarks of retrieval and ingest run, and their last line holds every figure."""

from pathlib import Path

import orjson
import pytest

from tests.fixtures.benchmarks import last_line

pytestmark = pytest.mark.servers

WAYS = ("dense", "sparse", "hybrid", "hybrid_late_interaction", "best")


def write_data_set(folder: Path) -> Path:
    """Documents and queries in BEIR's form, each query about one document."""
    topics = ["whales and their songs", "bread and how it rises", "old railway bridges", "growing roses in the shade"]
    documents = [
        {"_id": f"d{number}", "title": topic, "text": f"All about {topic}."} for number, topic in enumerate(topics)
    ]
    queries = [{"_id": f"q{number}", "text": f"What is known of {topic}?"} for number, topic in enumerate(topics)]
    (folder / "corpus.jsonl").write_bytes(b"\n".join(map(orjson.dumps, documents)))
    (folder / "queries.jsonl").write_bytes(b"\n".join(map(orjson.dumps, queries)))
    (folder / "qrels").mkdir()
    rows = "".join(f"q{number}\td{number}\t1\n" for number in range(len(topics)))
    (folder / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{rows}")
    return folder


@pytest.mark.models
async def test_a_short_run_of_retrieval_gives_all_figures(tmp_path: Path) -> None:
    figures = await last_line("bench.retrieval", "--short", "--data", str(write_data_set(tmp_path)))
    assert {f"ndcg10_{way}" for way in WAYS} <= figures.keys()
    assert {f"ndcg10_{way}_95" for way in WAYS} | {"recall100_hybrid", "qps_ratio"} <= figures.keys()
    assert figures["ndcg10_hybrid"] == 1
    for load in ("single", "loaded"):
        assert {f"qps_{load}", f"{load}_p50_ms", f"{load}_p95_ms", f"{load}_embedding_ms"} <= figures.keys()


async def test_a_short_run_of_ingest_gives_all_figures() -> None:
    figures = await last_line("bench.ingest", "--short")
    assert {"chunks_per_s", "rss_mb_growth", "worker_rss_mb", "milvus_rss_mb_2k"} <= figures.keys()
    for index in ("flat", "ivf_flat", "ivf_sq8", "autoindex", "hnsw"):
        assert figures[f"{index}_p50_ms_2k"] > 0
    assert figures["flat_recall10_2k"] == 1
