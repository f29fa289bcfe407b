"""What the bridge understands and says, as documents: AsyncAPI for the websocket, OpenAPI for the rest."""

from typing import Any

from backends.live_view import LiveViewSettings
from backends.memory_live_view import MemoryLiveView
from backends.memory_tally import MemoryTally
from bridge.access import Access
from bridge.answers import MemoryAnswers
from bridge.app import create_app
from bridge.core import Core
from bridge.examples import CLOSE_CODES, FROM_CLIENT, TO_CLIENT
from bridge.publisher import MemoryPublisher
from bridge.settings import BridgeSettings
from topics.asyncapi import Websocket


def websocket() -> Websocket:
    """The websocket's part of the AsyncAPI document."""
    return Websocket(FROM_CLIENT, TO_CLIENT, CLOSE_CODES)


def openapi() -> dict[str, Any]:
    """The OpenAPI document, as a bridge serves it at ``/openapi.json``."""
    live_view = MemoryLiveView(LiveViewSettings())
    access = Access(None, None, "default")
    core = Core(BridgeSettings(), access, MemoryPublisher(), live_view, MemoryAnswers(), MemoryTally())
    return create_app(core).openapi()
