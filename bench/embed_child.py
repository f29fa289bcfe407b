"""The process under measurement. Takes ``EmbedOptions`` as JSON, writes ``ready`` when the model is loaded, and ends
when its input is closed.

``raw`` takes the name of a part on a line of its input, encodes its texts in one call as a program without a pipeline
does, and writes the seconds. ``worker`` is an embedding worker and a chunk-embedding worker.
"""

import asyncio
import json
import sys
import time

from backends import sentence_models
from backends.memory_vector_store import MemoryVectorStore
from bench.embed_options import EmbedOptions
from bench.serving import be_silent, serving
from ragline.stages import build_stage, create_embedder
from workers.chunk_embedding import ChunkEmbeddingStage
from workers.runtime.settings import RuntimeSettings
from workers.runtime.worker import Worker


def run_raw(options: EmbedOptions) -> None:
    """Encode what is asked for until the input is closed."""
    settings = options.settings.embedder
    texts = json.loads(options.texts.read_bytes())
    loaded = sentence_models.load("SentenceTransformer", settings.path, settings.device, settings.threads, "path")
    loaded.encode(texts["questions"][:32], show_progress_bar=False)
    print("ready", flush=True)
    for line in sys.stdin:
        began = time.perf_counter()
        loaded.encode(
            texts[line.strip()], batch_size=settings.batch_size, normalize_embeddings=True, show_progress_bar=False
        )
        print(time.perf_counter() - began, flush=True)


async def run_workers(options: EmbedOptions) -> None:
    """Serve until the input is closed, or a worker fails."""
    settings = options.settings
    chunk_embedding = ChunkEmbeddingStage(
        settings.chunk_embedding, create_embedder(settings, "chunk-embedding"), MemoryVectorStore()
    )
    stages = (build_stage("embedding", settings), chunk_embedding)
    workers = [Worker(stage, settings.kafka, settings.names, RuntimeSettings()) for stage in stages]
    async with serving(workers) as orders:
        await orders.read()


if __name__ == "__main__":
    given = EmbedOptions.model_validate_json(sys.argv[1])
    if given.kind == "raw":
        run_raw(given)
    else:
        be_silent()
        asyncio.run(run_workers(given))
