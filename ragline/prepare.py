"""The last part of set-up: ``python -m ragline.prepare`` makes what the local stack starts from.

Nothing is made for what is configured to be elsewhere.
"""

import signal
import sys
from types import FrameType

from infra.local.kafka import prepare_jars
from infra.local.models import prepare_models
from infra.local.report import LocalStackError, Report
from ragline import settings as ragline_settings
from ragline.settings import Settings, SettingsError
from ragline.terminal import OUT, fail

_INTERRUPTED = 130
_LOCAL_ENGINES = ("vllm", "transformers")


def prepare(settings: Settings, report: Report) -> None:
    """Download Kafka's jars and convert the engine's model; at once if they are there.

    Raises:
        LocalStackError: a step failed.
    """
    data_dir = settings.local.data_dir
    if "kafka" in settings.local_servers:
        prepare_jars(data_dir, report)
    if settings.engine.kind in _LOCAL_ENGINES and not settings.engine.path:
        prepare_models(data_dir, report)


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
