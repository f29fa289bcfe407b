"""Runs the local stack with fake workers: ``fake_stack.py DATA_DIR FIRST_PORT``. Its own lines say what goes on."""

import asyncio
import os
import sys
from pathlib import Path

from infra.local.config import Page, StackConfig
from infra.local.report import LocalStackError
from infra.local.stack import LocalStack, prepare, run_stack
from infra.settings import LocalSettings


def say(line: str) -> None:
    sys.stdout.write(f"stack: {line}\n")
    sys.stdout.flush()


async def after_servers() -> None:
    say("topics")


async def serve(stack: LocalStack) -> str:
    say("all ready")
    await stack.wait()
    return "ended"


def main() -> None:
    data_dir, first_port = Path(sys.argv[1]), int(sys.argv[2])
    os.environ["FAKE_MONITOR_PORT"] = str(first_port)
    os.environ["FAKE_BRIDGE_PORT"] = str(first_port + 1)
    config = StackConfig(
        local=LocalSettings(data_dir=data_dir, worker_port=first_port + 2, min_free_disk_mib=1),
        servers=(),
        kafka_bootstrap_servers="nowhere:1",
        milvus_uri="http://nowhere:1",
        redis_url="redis://nowhere:1",
        embedder="hub/embedder",
        engine="",
        needs_engine_model=False,
        monitor=Page("127.0.0.1", first_port, "monitor.http_port"),
        bridge=Page("127.0.0.1", first_port + 1, "bridge.port"),
        drain_timeout_s=5,
        scale={"generation": 2},
        command=(sys.executable, "-I", "-S", str(Path(__file__).with_name("fake_worker.py"))),
    )
    try:
        prepare(config, say)
        result = asyncio.run(run_stack(config, report=say, after_servers=after_servers, body=serve))
        say(f"result {result}")
    except LocalStackError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
