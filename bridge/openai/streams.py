"""What streams of either API share: room for one more, comments that keep a connection open, and clients that leave."""

import asyncio

import structlog
from fastapi.sse import KEEPALIVE_COMMENT
from fastapi.sse import format_sse_event as sse

from backends.errors import BackendUnavailableError
from bridge.access import Principal
from bridge.core import Core
from bridge.errors import BridgeError, OverloadedError

__all__ = ["KEEPALIVE_COMMENT", "cancel_unread", "require_room", "sse"]

RETRY_AFTER_S = 5

log = structlog.get_logger(__name__)


def require_room(core: Core) -> None:
    """See to it that one more request may be followed.

    Raises:
        OverloadedError: too many are.
    """
    if core.streams >= core.settings.max_streams:
        raise OverloadedError("This bridge has as many streams as it takes.", retry_after_s=RETRY_AFTER_S)


def cancel_unread(core: Core, principal: Principal, request_id: str) -> None:
    """Cancel a request whose client has gone, for nobody will read it; one that a bridge which stops has sent away may
    come back. Whoever served it is being cancelled, so it is done by a task apart.
    """
    if not core.draining.is_set():
        task = asyncio.create_task(_cancel(core, principal, request_id), name=f"cancel {request_id}")
        _cancelling.add(task)
        task.add_done_callback(_cancelling.discard)


# The event loop itself keeps tasks by weak references.
_cancelling: set[asyncio.Task[None]] = set()


async def _cancel(core: Core, principal: Principal, request_id: str) -> None:
    try:
        await core.cancel(principal, request_id, "The client closed its connection.")
    except (BridgeError, BackendUnavailableError) as error:
        log.warning("request not cancelled", request_id=request_id, error=str(error))
