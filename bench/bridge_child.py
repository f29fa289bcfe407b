"""The bridge under measurement, on the Valkey whose address it is given; nothing is asked, so there is no Kafka.

It writes its address when it answers, and ends when its standard input is closed.
"""

import asyncio
import resource
import sys

import uvloop

from backends.live_view import LiveViewSettings
from backends.redis_live_view import RedisLiveView
from backends.redis_tally import RedisTally
from bench.child_input import standard_input
from bridge.access import Access
from bridge.answers import MemoryAnswers
from bridge.core import Core
from bridge.publisher import MemoryPublisher
from bridge.server import BridgeServer, collect_seldom
from bridge.settings import BridgeSettings, LimitSettings
from topics.names import Namespace
from workers.runtime import logs

# The benchmark is one tenant that resumes more than a tenant should.
_LIMITS = LimitSettings(calls_per_minute=1_000_000)


async def run(url: str) -> None:
    """Serve until standard input is closed."""
    redis = LiveViewSettings(url=url)
    live_view, tally = RedisLiveView(redis, Namespace()), RedisTally(redis, Namespace())
    settings = BridgeSettings(port=0, limits=_LIMITS)
    core = Core(settings, Access(None, None, "default"), MemoryPublisher(), live_view, MemoryAnswers(), tally)
    server = BridgeServer(core)
    collect_seldom()
    lines = await standard_input()
    serving = asyncio.create_task(server.serve())
    await server.ready.wait()
    print(server.address, flush=True)
    await lines.read()
    server.should_exit = True
    await serving
    await live_view.close()
    await tally.close()


if __name__ == "__main__":
    logs.configure("json", "ERROR")
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    uvloop.run(run(sys.argv[1]))
