"""What is told of collections, whichever store keeps them."""

from pydantic import BaseModel, ConfigDict


class Collection(BaseModel):
    """One collection. ``is_live`` says whether it is the one that the settings name, by its name or an alias."""

    model_config = ConfigDict(frozen=True)

    name: str
    aliases: tuple[str, ...]
    chunks: int
    is_live: bool


class Index(BaseModel):
    """The index of one field."""

    model_config = ConfigDict(frozen=True)

    field: str
    index_type: str
    metric: str
    params: dict[str, str]
    rows: int
    indexed_rows: int


class Description(BaseModel):
    """How a collection is kept. ``dimensions`` 0: it was not made by ragline; ``language`` None: nor searched by words.
    What a store does not know of is None.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    aliases: tuple[str, ...]
    dimensions: int
    language: str | None
    shards: int
    partitions: int | None = None
    consistency_level: str | None = None
    indexes: tuple[Index, ...]


class Stats(BaseModel):
    """What is in a collection; ``tenants`` counts the chunks of those that were asked for."""

    model_config = ConfigDict(frozen=True)

    name: str
    chunks: int
    load_state: str
    tenants: dict[str, int]
