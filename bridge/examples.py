"""One example of every message of the websocket, as the AsyncAPI document shows them."""

from bridge.messages import (
    Accepted,
    Ask,
    Cancel,
    Cancelling,
    ClientMessage,
    Delta,
    Problem,
    Progress,
    Resume,
    ServerMessage,
    Sources,
    StageTiming,
    TerminalReached,
)
from bridge.protocol import CloseCode
from schemas.events import Answered
from schemas.values import Passage, Source, Usage

_REQUEST = "019aa6f2-52a1-7d10-9c5e-3f0a6b1c2d3e"
_SOURCE = Source(
    number=1,
    passage=Passage(
        chunk_id="b1946ac92492d2347c6235b4d2611184",
        document_id="python/yield",
        title="Yield expressions",
        text="A yield expression makes a generator.",
        source="python",
        ordinal=0,
        score=0.75,
    ),
)
_ANSWERED = Answered(
    request_id=_REQUEST,
    tenant="default",
    question="What does the yield expression do?",
    answer="It makes a generator [1].",
    finish_reason="stop",
    sources=(_SOURCE,),
    model="SmolLM2-135M-Instruct",
    usage=Usage(prompt_tokens=120, completion_tokens=7),
)

FROM_CLIENT: tuple[ClientMessage, ...] = (
    Ask(kind="ask", id=_REQUEST, question="What does the yield expression do?", top_k=3),
    Resume(kind="resume", request_id=_REQUEST, after="1767323045123-0"),
    Cancel(kind="cancel", request_id=_REQUEST, reason="no longer needed"),
)
TO_CLIENT: tuple[ServerMessage, ...] = (
    Accepted(request_id=_REQUEST),
    Cancelling(request_id=_REQUEST),
    Progress(
        request_id=_REQUEST, id="1767323045100-0", stage="query", started_ms=1767323045090, finished_ms=1767323045098
    ),
    Sources(request_id=_REQUEST, id="1767323045110-0", sources=(_SOURCE,)),
    Delta(request_id=_REQUEST, id="1767323045123-0", attempt=1, sequence=0, text="It makes"),
    TerminalReached(
        request_id=_REQUEST,
        id="1767323045200-0",
        type=_ANSWERED.TYPE,
        event=_ANSWERED.model_dump(mode="json"),
        timeline=(StageTiming(stage="query", started_ms=1767323045090, finished_ms=1767323045098),),
    ),
    Problem(request_id=_REQUEST, code="rate_limited", message="More than 600 questions in a minute.", retry_after_s=12),
)

# What a close of the bridge's says, and what to do.
CLOSE_CODES: dict[int, str] = {
    1002: "what was sent is no websocket frame",
    CloseCode.INVALID_TEXT: "a text that is not UTF-8",
    CloseCode.TOO_LARGE: "a frame over bridge.max_frame_bytes",
    1011: "no answer to a ping; connect again and resume",
    CloseCode.RESTART: "the bridge stops; connect again and resume",
    CloseCode.TOO_SLOW: "the reader takes nothing; connect again and resume",
    CloseCode.ACCESS_ENDED: "the key or token is valid no longer",
    CloseCode.IDLE: "idle for bridge.idle_timeout_s; connect again when there is something to say",
    CloseCode.UNREADABLE: "more than bridge.max_unreadable messages could not be used",
}
