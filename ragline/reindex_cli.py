"""The command ``ragline reindex``."""

from typing import Annotated

import typer

from ragline.settings import Settings


def run(
    context: typer.Context,
    embedder: Annotated[
        str | None, typer.Option(help="Embedding model: a folder, or path=…,model=NAME,dimensions=N.")
    ] = None,
    index: Annotated[
        str | None, typer.Option(help="Index: HNSW, IVF_FLAT, …, with parameters, as in IVF_FLAT,nlist=256.")
    ] = None,
    chunking: Annotated[str | None, typer.Option(help="Chunking, as in max_tokens=300,overlap_tokens=40.")] = None,
    go_back: Annotated[
        bool, typer.Option("--rollback", help="Make the version live again that was so before.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    scale: Annotated[
        list[str] | None, typer.Option(help="Own workers of an ingest stage, as STAGE=N; may be given several times.")
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Chunks that must be found before the new version is live.")] = 50,
    timeout_s: Annotated[float, typer.Option(min=1, help="Give up after so many seconds without progress.")] = 300,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object.")] = False,
) -> None:
    """Fill a new version of the index with all documents, and let it take over; questions are answered meanwhile."""
    # It needs Milvus' client and much else, for which no other command should wait.
    from ragline.reindex.options import Options  # noqa: PLC0415
    from ragline.reindex.terminal import Request, execute  # noqa: PLC0415

    settings: Settings = context.obj.settings.with_local_addresses()
    request = Request(
        options=Options(embedder, index, chunking),
        rollback=go_back,
        dry_run=dry_run,
        scale=tuple(scale or ()),
        samples=samples,
        timeout_s=timeout_s,
        as_json=as_json,
    )
    raise typer.Exit(execute(settings, context.obj.config_file, request))
