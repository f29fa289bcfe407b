"""The command ``ragline explain``."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from ragline.settings import Settings
from ragline.terminal import OUT, ShownProgress, fail

# Commands import Kafka when they run: no other command should wait for it.
# ruff: noqa: PLC0415


def explain(
    context: typer.Context,
    request_id: Annotated[str, typer.Argument(help="Request ID, as ask and the page show it.")],
    as_json: Annotated[bool, typer.Option("--json", help="JSON.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write a page that needs nothing else to this file.")] = None,
    whole: Annotated[
        bool, typer.Option("--whole", help="Read the topics from their beginnings, whatever time the ID says.")
    ] = False,
) -> None:
    """Show a request's whole way: times, passages, prompt, answer, and what decided them; from Kafka alone."""
    from bridge.answers import asked_ms
    from ragline.explain import page, text
    from ragline.explain.assembly import explain as put_together
    from ragline.explain.reading import Recorded, RequestRecords
    from replay.report.whole_file import write_whole

    settings: Settings = context.obj.settings.with_local_addresses()
    since_ms = None if whole else asked_ms(request_id)
    with ShownProgress("explain", "records") as progress:

        async def read() -> list[Recorded]:
            return await RequestRecords(settings.kafka, settings.names, request_id, since_ms, progress.show).find()

        try:
            found = asyncio.run(read())
        except ConnectionError as error:
            fail(str(error))
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
    if not found:
        fail(_unknown(request_id, since_ms))
        raise typer.Exit(1)
    explanation = put_together(request_id, found)
    if html is not None:
        try:
            write_whole(html, page.render(explanation))
        except OSError as error:
            fail(f"the page cannot be written to {html}: {error.strerror}")
            raise typer.Exit(1) from None
    if as_json:
        OUT.print(explanation.model_dump_json(), markup=False)
    elif html is None:
        OUT.print(text.render(explanation), markup=False, end="")
    else:
        OUT.print(f"wrote {html}", markup=False)


def _unknown(request_id: str, since_ms: int | None) -> str:
    if since_ms is None:
        return f"no topic holds anything of the request {request_id!r}"
    asked = datetime.fromtimestamp(since_ms / 1000, UTC).isoformat(" ", "seconds").removesuffix("+00:00")
    return (
        f"no topic holds anything of the request {request_id!r} in the two hours after {asked}, the time in its ID; "
        "with --whole all that is kept is searched"
    )
