"""The campaign as a program: ``python -m faults --help``. Its last line on stdout is one JSON object."""

import argparse
import asyncio
import logging
import math
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

import orjson

from faults import mutation, report
from faults.campaign import Campaign, Guarantee, Plan, Round, running_cluster
from faults.cluster import Cluster
from faults.fault import Fault
from faults.injections import ALL, BY_NAME, SHORT
from faults.mutants import Mutant
from faults.small_disk import SmallDisk, mount_privately
from faults.systems import Systems, running_systems

_STARTED = time.monotonic()
_REQUESTS = 10_000
_SHORT_REQUESTS = 900
_MUTANT_REQUESTS = 150


def main() -> int:
    """Run what the arguments ask for; 0 when every promise was kept, or every mutant caught."""
    options = _arguments()
    # Its clients say at length that the brokers are dead, which is the point.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    disk = SmallDisk() if mount_privately() else None
    folder = options.logs or Path(tempfile.mkdtemp(prefix="ragline-faults-logs-"))
    work = _mutants(options, folder) if options.mutants else _campaign(options, disk, folder)
    good = asyncio.run(work)
    if good and not options.logs:
        shutil.rmtree(folder)
    else:
        say(f"the workers' logs are in {folder}")
    return 0 if good else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="faults", description="Kills ragline's runtime while requests run.")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--short", action="store_true", help="a selection, in about four minutes")
    which.add_argument("--mutants", action="store_true", help="planted defects, which the oracle must find")
    parser.add_argument("--fault", action="append", choices=list(BY_NAME), help="only this one; may be repeated")
    parser.add_argument("--guarantee", action="append", choices=get_args(Guarantee), help="only this one")
    parser.add_argument("--requests", type=int, default=0, help="requests in all, at least; 0 takes the usual number")
    parser.add_argument("--rate", type=float, default=20, help="requests per second")
    parser.add_argument("--seed", type=int, default=1, help="of every choice")
    parser.add_argument("--data-dir", type=Path, default=Path(".ragline"), help="where Kafka's jars are kept")
    parser.add_argument("--document", type=Path, help="write the results to this Markdown file")
    parser.add_argument("--logs", type=Path, help="keep the workers' logs in this new folder, and not only on failure")
    return parser.parse_args()


async def _campaign(options: argparse.Namespace, disk: SmallDisk | None, folder: Path) -> bool:
    """Every fault under every guarantee that it is meant for: on the echoes first, then on the real stages."""
    chosen = _chosen(options, can_fill_disk=disk is not None)
    requests = options.requests or (_SHORT_REQUESTS if options.short else _REQUESTS)
    each = math.ceil(requests / max(1, sum(map(len, chosen.values()))))
    plan = Plan(each, options.rate, options.seed)
    rounds: list[Round] = []
    aborted: Counter[str] = Counter()

    async def run(cluster: Cluster, systems: Systems | None) -> None:
        for guarantee, faults in chosen.items():
            fitting = [fault for fault in faults if fault.real == (systems is not None)]
            if fitting:
                namespace = f"{guarantee}-{'real' if systems else 'echo'}"
                campaign = Campaign(cluster, namespace, guarantee, plan, folder, say, systems=systems)
                rounds.extend(await campaign.run(fitting))
                aborted[guarantee] += await campaign.count_aborted()

    async with running_cluster(options.data_dir, disk, say) as cluster:
        await run(cluster, None)
        if any(fault.real for faults in chosen.values() for fault in faults):
            async with running_systems(folder / "systems", options.data_dir, say) as systems:
                await run(cluster, systems)
    print(report.table(rounds))
    if options.document:
        options.document.write_text(report.document(rounds, aborted, options.seed, time.monotonic() - _STARTED))
    print(orjson.dumps({**report.summary(rounds), "aborted_records": aborted, "seed": options.seed}).decode())
    return all(made.kept for made in rounds)


async def _mutants(options: argparse.Namespace, folder: Path) -> bool:
    """Every planted defect, and the same faults without it."""
    plan = Plan(options.requests or _MUTANT_REQUESTS, options.rate, options.seed)
    async with running_cluster(options.data_dir, None, say) as cluster:

        async def run_one(guarantee: Guarantee, fault: Fault, mutant: Mutant | None) -> Round:
            say(f"{guarantee}, {fault.name}: {f'with the defect {mutant}' if mutant else 'without a defect'}")
            namespace = f"{guarantee}-{fault.name.replace(' ', '-')}-{mutant or 'control'}"
            (made,) = await Campaign(cluster, namespace, guarantee, plan, folder, say, mutant=mutant).run([fault])
            return made

        cases = [case for case in mutation.CASES if not options.fault or case.fault in options.fault]
        trials = await mutation.try_all(run_one, cases)
    print(orjson.dumps(mutation.summary(trials)).decode())
    return all(trial.caught for trial in trials)


def _chosen(options: argparse.Namespace, *, can_fill_disk: bool) -> Mapping[Guarantee, Sequence[Fault]]:
    """The faults under each guarantee; what this machine does not allow is said and left out."""
    chosen: dict[Guarantee, Sequence[Fault]] = {}
    for guarantee in options.guarantee or get_args(Guarantee):
        names = options.fault or (SHORT[guarantee] if options.short else list(BY_NAME))
        fitting = [fault for fault in ALL if guarantee == "exactly_once" or not fault.transactional]
        chosen[guarantee] = [
            fault for fault in fitting if fault.name in names and (can_fill_disk or not fault.needs_disk)
        ]
    if not can_fill_disk:
        say("no full disk: this user may not mount one in memory")
    return chosen


def say(line: str) -> None:
    """Progress, with the seconds since the start."""
    sys.stderr.write(f"{time.monotonic() - _STARTED:6.0f} s  {line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
