"""What the questions of the whole way are about."""

from backends.embedder import EmbedderSettings
from backends.milvus import MilvusVectorStore
from backends.milvus_settings import MilvusSettings
from backends.sentence_transformers_embedder import SentenceTransformersEmbedder
from backends.vector_store import StoredChunk
from bench.ttft_options import TENANT
from infra.local.models import embedder_path

_TOPICS = (
    ("yield", "A yield expression makes a generator; its body stops there and goes on when the next value is wanted."),
    ("await", "An await expression suspends a coroutine on an awaitable until that has a result."),
    ("lambda", "A lambda expression makes an anonymous function of one expression."),
    ("global", "The global statement makes names in a block refer to global variables."),
    ("with", "The with statement wraps a block with methods of a context manager."),
    ("assert", "The assert statement puts a debugging assertion into a program."),
    ("slice", "A slicing selects a range of items in a sequence object."),
    ("match", "The match statement compares a subject with patterns and runs the block of the first that fits."),
)
QUESTIONS = [f"What does {name} do in Python, in case {number}?" for number in range(1, 5) for name, _ in _TOPICS]


async def fill(milvus_uri: str) -> None:
    """Make the passages searchable."""
    settings = EmbedderSettings(path=str(embedder_path()))
    embedder = SentenceTransformersEmbedder(settings)
    store = MilvusVectorStore(MilvusSettings(uri=milvus_uri))
    await embedder.start()
    try:
        await store.prepare(settings.dimensions)
        vectors = await embedder.embed([text for _, text in _TOPICS])
        for (name, text), vector in zip(_TOPICS, vectors, strict=True):
            chunk = StoredChunk(
                chunk_id=name,
                document_id=name,
                tenant=TENANT,
                title=name,
                source="bench",
                ordinal=0,
                text=text,
                vector=vector,
            )
            await store.replace(TENANT, name, [chunk])
        await store.flush()
    finally:
        await store.close()
        await embedder.close()
