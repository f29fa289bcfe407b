"""Fetch Java libraries with all they depend on: ``python -m infra.local.fetch_jars FOLDER COORDINATE…``.

Prints what it is doing, a line at a time.
"""

import logging
import shutil
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

_ATTEMPTS = 3
_DOWNLOADS_AT_ONCE = 6
_TIMEOUT_S = 60

T = TypeVar("T")


def fetch(folder: Path, coordinates: Sequence[str]) -> None:
    """Put the jars of ``coordinates`` (``group:artifact:version``) and of all they need at run time into ``folder``."""
    from jgo.maven import MavenContext  # noqa: PLC0415 - only this program needs it

    # A repository of our own: jgo writes straight to the final name, so that an interrupted download would stay half.
    repository = folder / "repository"
    context = MavenContext(repo_cache=repository, timeout=_TIMEOUT_S)
    _say("resolving")
    wanted = [context.create_dependency(coordinate) for coordinate in coordinates]
    given, transitive = _again(lambda: context.resolver.resolve(wanted))
    artifacts = [
        dependency.artifact for dependency in (*given, *transitive) if dependency.scope in {"compile", "runtime", None}
    ]
    with ThreadPoolExecutor(_DOWNLOADS_AT_ONCE) as pool:
        for count, jar in enumerate(pool.map(_download, artifacts), start=1):
            jar.replace(folder / jar.name)
            _say(f"{count} of {len(artifacts)} files")
    shutil.rmtree(repository)


def _download(artifact: Any) -> Path:
    def attempt() -> Path:
        artifact.cached_path.unlink(missing_ok=True)
        return Path(artifact.resolve())

    return _again(attempt)


def _again(action: Callable[[], T]) -> T:
    """Run ``action``; a network that fails is tried a few times."""
    for _ in range(_ATTEMPTS - 1):
        try:
            return action()
        except (OSError, RuntimeError) as error:
            _say(f"trying again after: {error}")
    return action()


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Fetch what the command line names."""
    folder, *coordinates = sys.argv[1:]
    # jgo warns about every oddity of other people's POM files.
    logging.getLogger("jgo").setLevel(logging.CRITICAL)
    fetch(Path(folder), coordinates)


if __name__ == "__main__":
    main()
