"""Decides what a re-index is to do. Pure."""

from dataclasses import dataclass
from datetime import datetime

from ragline.reindex.errors import ReindexError
from ragline.settings import Settings
from ragline.versions import make_version, recorded
from schemas.events import IndexChanged, IndexVersion


@dataclass(frozen=True, slots=True)
class Plan:
    """The version to fill. It is half filled already if ``resumes``; ``removes`` is another one that was begun."""

    target: IndexVersion
    resumes: bool
    removes: IndexVersion | None = None


def plan_reindex(state: IndexChanged, wanted: Settings, now: datetime) -> Plan:
    """What follows from the settings that are wanted.

    Raises:
        ReindexError: the version before the live one is still there.
    """
    if state.previous:
        kept = state.previous.collection
        raise ReindexError(
            f"{kept} is kept from the last re-index; give it up first with: ragline collections drop {kept}, "
            "or go back to it with: ragline reindex --rollback"
        )
    if state.building and state.building.settings == recorded(wanted):
        return Plan(state.building, resumes=True)
    return Plan(make_version(wanted, state.last + 1, now), resumes=False, removes=state.building)


def begun(state: IndexChanged, target: IndexVersion, by: str, at: datetime) -> IndexChanged:
    """The target is being filled."""
    last = max(state.last, target.version)
    return state.model_copy(update={"building": target, "last": last, "by": by, "at": at})


def activated(state: IndexChanged, target: IndexVersion, by: str, at: datetime) -> IndexChanged:
    """The target is live, and what was live is kept."""
    building = None if state.building == target else state.building
    update = {"live": target, "previous": state.live, "building": building, "by": by, "at": at}
    return state.model_copy(update=update)


def without(state: IndexChanged, collection: str, by: str, at: datetime) -> IndexChanged:
    """The collection is neither kept nor being filled.

    Raises:
        ReindexError: it is the live one, or none of the index.
    """
    if state.live.collection == collection:
        raise ReindexError(f"{collection} is the live collection: questions are answered from it")
    for name in ("previous", "building"):
        version = getattr(state, name)
        if version is not None and version.collection == collection:
            return state.model_copy(update={name: None, "by": by, "at": at})
    raise ReindexError(f"{collection} is no collection of the index; see: ragline collections list")
