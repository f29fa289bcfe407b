"""Faults of the systems outside, and of workers and engines in the middle of an answer: they befall the real stages."""

from faults.arena import Arena
from faults.fault import Fault, Script, suspended, trapped
from faults.servers import Server

# Shares of the questions: when a system goes, and when it comes back.
_AWAY = ((0.1, 0.3), (0.4, 0.6))
# An answer has about that many tokens.
_MOST_TOKENS = 32
_GENERATION = ["generation"]


def _gone(name: str) -> Script:
    """A system outside is killed, stays away while a fifth of the questions are asked, and comes back; twice."""

    async def script(arena: Arena) -> None:
        server = _server(arena, name)
        for gone, back in _AWAY:
            await arena.load.reached(gone)
            async with arena.injection():
                await server.kill()
                await arena.load.reached(back)
                await server.start()

    return script


def _server(arena: Arena, name: str) -> Server:
    assert arena.systems is not None  # noqa: S101 - the campaign gives them to the real stages
    return {"milvus": arena.systems.milvus, "valkey": arena.systems.valkey}[name]


REAL = (
    Fault("real stages", "no fault", real=True, clean=True),
    Fault(
        "redis gone",
        "SIGKILL of Valkey, back and empty when a fifth of the questions have been asked meanwhile; those asked before "
        "have no stream to be judged",
        _gone("valkey"),
        real=True,
        clean=True,
        blinding=True,
    ),
    Fault(
        "milvus gone",
        "SIGKILL of Milvus Lite, back when a fifth of the questions have been asked meanwhile",
        _gone("milvus"),
        real=True,
        clean=True,
    ),
    Fault(
        "engine hung",
        "the engine brings no more tokens, in the middle of an answer; the watchdog ends the worker",
        trapped("token", "engine_hung", _GENERATION, times=2, most_passes=_MOST_TOKENS),
        real=True,
    ),
    Fault(
        "engine dead",
        "EngineDeadError in the middle of an answer ends the worker",
        trapped("token", "engine_dead", _GENERATION, times=2, most_passes=_MOST_TOKENS),
        real=True,
    ),
    Fault(
        "kill while generating",
        "SIGKILL of a worker in the middle of an answer",
        trapped("token", "kill", _GENERATION, times=2, most_passes=_MOST_TOKENS),
        real=True,
    ),
    Fault(
        "zombie while generating",
        "SIGSTOP in the middle of an answer, past the session timeout; SIGCONT",
        suspended(["token", "token"], _GENERATION, most_passes=_MOST_TOKENS),
        real=True,
        waking=True,
    ),
)
