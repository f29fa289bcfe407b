"""The campaign as a program: ``python -m faults --help``. Its last line on stdout is one JSON object."""

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import orjson

from faults.campaign import Campaign, Guarantee, Plan, Round, running_cluster
from faults.injections import ALL, BY_NAME, Fault
from faults.report import summary, table

_STARTED = time.monotonic()


def main() -> int:
    """Run what the arguments ask for; 0 when every promise was kept."""
    parser = argparse.ArgumentParser(prog="faults", description="Kills ragline's runtime while requests run.")
    parser.add_argument("--fault", action="append", choices=list(BY_NAME), help="only this one; may be repeated")
    parser.add_argument("--guarantee", action="append", choices=get_args(Guarantee), help="only this one")
    parser.add_argument("--requests", type=int, default=280, help="requests for each fault and guarantee")
    parser.add_argument("--rate", type=float, default=20, help="requests per second")
    parser.add_argument("--seed", type=int, default=1, help="of every choice")
    parser.add_argument("--data-dir", type=Path, default=Path(".ragline"), help="where Kafka's jars are kept")
    options = parser.parse_args()
    plan = Plan(options.requests, options.rate, options.seed)
    faults = [fault for fault in ALL if not options.fault or fault.name in options.fault]
    folder = Path(tempfile.mkdtemp(prefix="ragline-faults-logs-"))
    rounds = asyncio.run(_campaign(options.guarantee or get_args(Guarantee), faults, plan, options.data_dir, folder))
    print(table(rounds))
    print(orjson.dumps(summary(rounds)).decode())
    kept = all(made.kept for made in rounds)
    if kept:
        shutil.rmtree(folder)
    else:
        say(f"the workers' logs are in {folder}")
    return 0 if kept else 1


async def _campaign(
    guarantees: Sequence[Guarantee], faults: Sequence[Fault], plan: Plan, data_dir: Path, folder: Path
) -> list[Round]:
    rounds: list[Round] = []
    async with running_cluster(data_dir, say) as cluster:
        for guarantee in guarantees:
            fitting = [fault for fault in faults if guarantee == "exactly_once" or not fault.transactional]
            campaign = Campaign(cluster, guarantee, guarantee, plan, folder, say)
            rounds += await campaign.run(fitting)
            say(f"{guarantee}: {await campaign.count_aborted()} records of attempts cut off")
    return rounds


def say(line: str) -> None:
    """Progress, with the seconds since the start."""
    sys.stderr.write(f"{time.monotonic() - _STARTED:6.0f} s  {line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
