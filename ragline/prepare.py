"""The last part of set-up: ``python -m ragline.prepare`` makes what the local stack starts from.

Nothing is made for what is configured to be elsewhere.
"""

import signal
import sys
from pathlib import Path
from types import FrameType

from backends.errors import BackendRejectedError
from backends.exported_model import check_installed
from infra.local.embedder_graph import prepare_graph
from infra.local.kafka import prepare_jars
from infra.local.models import embedder_path, prepare_models
from infra.local.report import LocalStackError, Report
from ragline import settings as ragline_settings
from ragline.settings import Settings, SettingsError
from ragline.terminal import OUT, fail

_INTERRUPTED = 130
_LOCAL_ENGINES = ("vllm", "transformers")


def prepare(settings: Settings, report: Report) -> None:
    """Download Kafka's jars, convert the engine's model, export the embedder's; at once if they are there.

    Raises:
        LocalStackError: a step failed.
    """
    data_dir = settings.local.data_dir
    if "kafka" in settings.local_servers:
        prepare_jars(data_dir, report)
    if settings.engine.kind in _LOCAL_ENGINES and not settings.engine.path:
        prepare_models(data_dir, report)
    # A model of the hub is not fetched for this: the first worker exports it.
    if settings.embedder.backend != "torch" and (model := Path(settings.embedder.path or embedder_path())).is_dir():
        try:
            check_installed(settings.embedder.backend)
        except BackendRejectedError as error:
            raise LocalStackError(str(error)) from error
        prepare_graph(data_dir, model, settings.embedder, report)


def main() -> int:
    """Prepare what the settings say; the exit status."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        # Ignored is what nohup asks for.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    try:
        prepare(ragline_settings.load(), _say)
    except (LocalStackError, SettingsError) as error:
        fail(str(error))
        return 1
    except KeyboardInterrupt:
        fail("stopped; the same command goes on from here")
        return _INTERRUPTED
    return 0


def _say(line: str) -> None:
    OUT.print(f"setup: {line}", markup=False)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
