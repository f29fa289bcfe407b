"""Asks a question on the terminal: the answer as it comes, its sources, and the time it took."""

from typing import Any

from rich.markup import escape

from backends.vector_store import StoredChunk
from ragline.answers import Answer, Restart, Token
from ragline.client import Client
from ragline.terminal import OUT
from schemas.headers import StageTime
from schemas.values import Passage


async def ask_on_terminal(client: Client, question: str, **options: Any) -> Answer:
    """Ask, print, and give the answer.

    Raises:
        RequestError: the request ended without an answer.
        ConnectionError: Kafka did not take the question.
    """
    OUT.print(f"\n[bold cyan]?[/] [bold]{escape(question)}[/]\n")
    answer: Answer | None = None
    async for update in client.stream(question, **options):
        match update:
            case Token(text):
                OUT.print(text, end="", markup=False)
            case Restart():
                OUT.print("\n[yellow]The answer was interrupted and begins again.[/]\n")
            case Answer():
                answer = update
    assert answer is not None  # noqa: S101 - a stream ends with the answer or raises
    OUT.print()
    _print_sources(answer)
    OUT.print(f"\n[dim]{escape(describe_times(answer.timeline))}  ({answer.request_id})[/]")
    return answer


def describe_times(timeline: tuple[StageTime, ...]) -> str:
    """One line with each stage's time, in milliseconds, and the whole; waits between stages count to the later one."""
    if not timeline:
        return "no times known"
    parts = []
    before = timeline[0].started_ms
    for time in timeline:
        attempts = f" (attempt {time.attempt})" if time.attempt > 1 else ""
        parts.append(f"{time.stage} {max(0, time.finished_ms - before):,} ms{attempts}")
        before = time.finished_ms
    whole = timeline[-1].finished_ms - timeline[0].started_ms
    return f"{' · '.join(parts)} · whole {whole:,} ms"


def _print_sources(answer: Answer) -> None:
    if answer.sources:
        OUT.print("\n[bold]Sources[/]")
    for source in answer.sources:
        passage = source.passage
        title = escape(passage.title or passage.document_id)
        origin = escape(f"({', '.join([passage.document_id, *place_of(passage), f'{passage.score:.2f}'])})")
        OUT.print(f"  [cyan]\\[{source.number}][/] {title} [dim]{origin}[/]")


def place_of(chunk: Passage | StoredChunk) -> list[str]:
    """Where in its document it is, as far as that is known: page and heading."""
    place = []
    if chunk.page is not None:
        is_one = chunk.last_page in {None, chunk.page}
        place.append(f"page {chunk.page}" if is_one else f"pages {chunk.page}-{chunk.last_page}")
    if chunk.heading:
        place.append(chunk.heading)
    return place
