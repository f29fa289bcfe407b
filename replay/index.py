"""Which version of the index the workers of a replay search: what production had live when the run began."""

from aiokafka.errors import KafkaError

from backends.index_topic import index_writer, read_index, write_index
from backends.kafka import KafkaSettings
from replay.errors import ReplayError
from schemas.events import IndexChanged
from topics.names import Namespace


async def keep_index(kafka: KafkaSettings, names: Namespace, own: Namespace, collection: str) -> None:
    """Say in the namespace ``own`` of a run what holds in ``names``, unless the run has been told before.

    ``collection`` is the one that the run is set to search.

    Raises:
        ReplayError: Kafka does not answer.
    """
    try:
        if await read_index(kafka, own) is not None:
            return
        said = await read_index(kafka, names)
        kept = said and index_of_run(said, collection)
        if kept:
            async with index_writer(kafka, own) as producer:
                await write_index(producer, own, kept)
    except (KafkaError, OSError) as error:
        raise ReplayError(
            f"which version of the index is live cannot be told: {str(error) or type(error).__name__}"
        ) from error


def index_of_run(said: IndexChanged, collection: str) -> IndexChanged | None:
    """What holds for a run that searches ``collection``: all that is said of the index, if that is its name; else the
    version that has this collection, alone; None for a collection that is no version's, which has its settings from
    the run.
    """
    if collection == said.alias:
        return said
    version = next((version for version in said.versions if version.collection == collection), None)
    if version is None:
        return None
    return said.model_copy(update={"alias": collection, "live": version, "previous": None, "building": None})
