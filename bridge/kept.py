"""What a bridge notes down for all bridges, for as long as the live view keeps it: in streams beside the requests'."""

from typing import TypeVar
from urllib.parse import quote

import structlog

from backends.errors import BackendUnavailableError
from backends.live_view import Entry, LiveView
from schemas.values import Value

V = TypeVar("V", bound=Value)

log = structlog.get_logger(__name__)


def beside(subject: str, tenant: str, name: str) -> str:
    """The name of the stream for notes on ``name``. No request's stream has it: their tenants have no colon."""
    return f"{subject}:{quote(tenant, safe='')}/{name}"


async def keep(live_view: LiveView, stream: str, note: Value) -> None:
    """Note something down; the last note counts. Without the live view it is not: that is logged."""
    try:
        await live_view.append(stream, [Entry("kept", note.model_dump(mode="json"))])
    except BackendUnavailableError as error:
        log.warning("not noted in the live view", stream=stream, error=str(error))


async def kept(live_view: LiveView, stream: str, kind: type[V]) -> V | None:
    """The last note; None if there is none, or no longer.

    Raises:
        BackendUnavailableError: the live view does not answer.
    """
    last = await live_view.last(stream)
    return None if last is None else kind.model_validate(last.entry.body)
