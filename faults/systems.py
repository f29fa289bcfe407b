"""The systems outside that real stages need, each a server to be killed: Milvus Lite with passages, and Valkey."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from backends.errors import BackendUnavailableError
from backends.memory_embedder import HashedEmbedder
from backends.milvus import MilvusVectorStore
from backends.vector_store import StoredChunk
from faults.addresses import Addresses
from faults.servers import HOST, Server, free_ports
from infra.local.milvus import milvus_process
from infra.local.models import engine_path, prepare_models
from infra.local.report import Report
from infra.local.valkey import valkey_process

TENANT = "default"
_DOCUMENTS = 60
_FILL_TIMEOUT_S = 60
_LOOK_S = 0.2


class Systems:
    """The servers, and where they are."""

    def __init__(self, folder: Path, data_dir: Path) -> None:
        milvus_port, valkey_port = free_ports(2)
        folder.mkdir(parents=True)
        self.milvus = Server(milvus_process(folder / "milvus", HOST, milvus_port), folder / "milvus.log")
        self.valkey = Server(valkey_process(folder / "valkey", HOST, valkey_port), folder / "valkey.log")
        self.addresses = Addresses(
            milvus_uri=f"http://{HOST}:{milvus_port}",
            redis_url=f"redis://{HOST}:{valkey_port}/0",
            model=str(engine_path(data_dir)),
        )

    async def start(self) -> None:
        """Start both, and write the passages that questions find."""
        await asyncio.gather(self.milvus.start(), self.valkey.start())
        async with asyncio.timeout(_FILL_TIMEOUT_S), _store(self.addresses) as store:
            while True:
                with contextlib.suppress(BackendUnavailableError):
                    await _fill(store)
                    return
                await asyncio.sleep(_LOOK_S)

    async def close(self) -> None:
        """Kill both: nothing of them is kept."""
        await self.milvus.kill()
        await self.valkey.kill()


@contextlib.asynccontextmanager
async def running_systems(folder: Path, data_dir: Path, report: Report) -> AsyncIterator[Systems]:
    """Milvus Lite and Valkey in a folder of their own, gone at the end of the block."""
    await asyncio.to_thread(prepare_models, data_dir, report)
    systems = Systems(folder, data_dir)
    try:
        report("starting Milvus Lite and Valkey")
        await systems.start()
        yield systems
    finally:
        await systems.close()


@contextlib.asynccontextmanager
async def _store(addresses: Addresses) -> AsyncIterator[MilvusVectorStore]:
    store = MilvusVectorStore(addresses.vector_store)
    try:
        yield store
    finally:
        await store.close()


async def _fill(store: MilvusVectorStore) -> None:
    embedder = HashedEmbedder()
    texts = [f"Passage {number} says what is known about question {number}." for number in range(_DOCUMENTS)]
    await store.prepare(embedder.dimensions)
    for number, (text, vector) in enumerate(zip(texts, await embedder.embed(texts), strict=True)):
        chunk = StoredChunk(f"c{number}", f"d{number}", TENANT, f"Document {number}", "faults", 0, text, vector)
        await store.replace(TENANT, chunk.document_id, [chunk])
    await store.flush()
