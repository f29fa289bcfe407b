"""Milvus Lite's server, as a process."""

import signal
import sys
from pathlib import Path

from infra.local.probes import grpc_answers
from infra.local.process import ProcessSpec

# Milvus Lite reads row by row what it has not written to its files yet, in each search and each write: a batch or two
# may wait, not the 128 MiB of its default.
_UNWRITTEN_BYTES = 8 * 1024 * 1024


def milvus_process(folder: Path, host: str, port: int) -> ProcessSpec:
    """A Milvus Lite server on ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    return ProcessSpec(
        name="milvus",
        stage="milvus",
        argv=(
            *(sys.executable, "-m", "milvus_lite", "server"),
            *("--data-dir", str(folder.absolute()), "--host", host, "--port", str(port)),
        ),
        env={"MILVUS_LITE_MEMTABLE_MEMORY_LIMIT_BYTES": str(_UNWRITTEN_BYTES)},
        ready=grpc_answers(host, port),
        # It closes its data files on SIGINT only.
        stop_signal=signal.SIGINT,
        view="errors",
    )
