"""``python -m bench.hops``: what a hop costs, next to the raw client and to other frameworks.

Everything runs in turn on one broker, each in a process of its own, the order turned round every other time. The last
line on standard output is one JSON object.
"""

import argparse
import asyncio
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from bench.broker import running_broker
from bench.figures import paired_ratio, rounded, spread
from bench.hops_options import STAGES
from bench.hops_process import PEERS_PYTHON, ROOT, Peer
from bench.hops_runs import Load, Runs, Speed, Variant
from bench.report import say

RAW = Variant("raw")
RAW_JSON = Variant("raw", codec="json")
RAW_EXACTLY = Variant("raw", "exactly_once")
OURS = Variant("ragline")
OURS_EXACTLY = Variant("ragline", "exactly_once")
VARIANTS = {"raw": RAW, "raw json": RAW_JSON, "ragline": OURS, "raw eos": RAW_EXACTLY, "ragline eos": OURS_EXACTLY}
# Ours, and what it is measured against.
PAIRS = {"alo": ("ragline", "raw"), "eos": ("ragline eos", "raw eos"), "alo_json": ("ragline", "raw json")}
PARTS = ("chain", "peers", "head-of-line", "memory")


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of everything. ``hops`` are records per framework, about as many as it passes on in a few seconds."""

    repetitions: int
    partitions: tuple[int, ...]
    chain: Load
    hops: dict[str, int]
    head_of_line: tuple[int, int, int]
    memory: tuple[int, int]


FULL = Plan(
    repetitions=5,
    partitions=(1, 6),
    chain=Load(backlog=10_000, paced=600, rate=100, uncounted=100),
    hops={"faststream": 3_000, "faust": 10_000, "quix": 100_000, "ragline": 20_000},
    head_of_line=(10_000, 100, 500),
    memory=(20_000, 200_000),
)
SHORT = Plan(
    repetitions=1,
    partitions=(2,),
    chain=Load(backlog=200, paced=20, rate=100, uncounted=5),
    hops={"faststream": 100, "faust": 100, "quix": 5_000, "ragline": 100},
    head_of_line=(200, 100, 100),
    memory=(100, 200),
)


async def measure(runs: Runs, plan: Plan, parts: Sequence[str]) -> dict[str, float]:
    """All figures of the parts asked for."""
    # The first run of a broker waits for Kafka's own topics.
    await runs.chain(RAW_EXACTLY, STAGES, 1, Load(backlog=100, paced=0, rate=1, uncounted=0))
    figures: dict[str, float] = {}
    if "chain" in parts:
        figures |= await _chain(runs, plan)
    if "peers" in parts:
        figures |= await _peers(runs, plan)
    if "head-of-line" in parts:
        figures |= await _head_of_line(runs, plan)
    if "memory" in parts:
        figures["rss_mb_growth"] = await runs.rss_growth_mb(*plan.memory)
        say(f"memory: {figures['rss_mb_growth']:.1f} MB more after {plan.memory[1]} records")
    return figures


async def _chain(runs: Runs, plan: Plan) -> dict[str, float]:
    figures: dict[str, float] = {}
    for partitions in plan.partitions:
        speeds: dict[str, list[Speed]] = {name: [] for name in VARIANTS}
        for repetition in range(plan.repetitions):
            for name in _in_turn(list(VARIANTS), repetition):
                speed = await runs.chain(VARIANTS[name], STAGES, partitions, plan.chain)
                speeds[name].append(speed)
                say(f"{name}, {partitions} partitions: {speed.rate:.0f}/s, {speed.cpu_us:.0f} us CPU a hop")
        for name, measured in speeds.items():
            _say_speeds(f"{name}, {partitions} partitions", measured)
        figures |= {f"{name}_{partitions}p": value for name, value in _ratios(speeds).items()}
    # The worst holds.
    for name in PAIRS:
        for figure, worse in (("throughput", min), ("p50", max), ("p95", max), ("cpu", max)):
            each = [figures[f"{name}_{figure}_ratio_{partitions}p"] for partitions in plan.partitions]
            figures[f"{name}_{figure}_ratio"] = worse(each)
    return figures


def _ratios(speeds: dict[str, list[Speed]]) -> dict[str, float]:
    figures = {}
    for pair, (ours, raw) in PAIRS.items():
        for figure, field in (("throughput", "rate"), ("p50", "p50_ms"), ("p95", "p95_ms"), ("cpu", "cpu_us")):
            values = [[getattr(speed, field) for speed in speeds[name]] for name in (ours, raw)]
            figures[f"{pair}_{figure}_ratio"] = paired_ratio(*values)
    return figures


async def _peers(runs: Runs, plan: Plan) -> dict[str, float]:
    peers = [
        Peer("faststream", PEERS_PYTHON),
        Peer("faust", Path(sys.executable)),
        Peer("quix", PEERS_PYTHON),
    ]
    rates: dict[str, list[float]] = {name: [] for name in plan.hops}
    for repetition in range(plan.repetitions):
        for name in _in_turn(list(plan.hops), repetition):
            count = plan.hops[name]
            peer = next((peer for peer in peers if peer.name == name), None)
            if peer:
                rate = await runs.peer_hop(peer, count)
            else:
                rate = (await runs.chain(OURS, 1, 1, Load(backlog=count, paced=0, rate=1, uncounted=0))).rate
            rates[name].append(rate)
            say(f"one hop, {name}: {rate:.0f}/s")
    for name, measured in rates.items():
        say("one hop, {}: median {:.0f}/s ({:.0f} to {:.0f})".format(name, *spread(measured)))
    return {f"vs_{peer.name}": paired_ratio(rates["ragline"], rates[peer.name]) for peer in peers}


async def _head_of_line(runs: Runs, plan: Plan) -> dict[str, float]:
    # In order it is the slow records' time, added up, and hardly anything else: once is enough.
    in_order_s = await runs.head_of_line_s("raw", *plan.head_of_line)
    say(f"head of line, in order: {in_order_s:.1f} s")
    ours_s = [await runs.head_of_line_s("ragline", *plan.head_of_line) for _ in range(plan.repetitions)]
    say("head of line, ragline: median {:.1f} s ({:.1f} to {:.1f})".format(*spread(ours_s)))
    return {"head_of_line_speedup": paired_ratio([in_order_s] * len(ours_s), ours_s)}


def _in_turn(names: list[str], repetition: int) -> list[str]:
    return names if repetition % 2 == 0 else names[::-1]


def _say_speeds(title: str, speeds: list[Speed]) -> None:
    rate = spread([speed.rate for speed in speeds])
    cpu, p50, p95 = (spread([getattr(speed, field) for speed in speeds])[0] for field in ("cpu_us", "p50_ms", "p95_ms"))
    duplicates = sum(speed.duplicates for speed in speeds)
    say(
        f"{title}: median {rate[0]:.0f}/s ({rate[1]:.0f} to {rate[2]:.0f}), {cpu:.0f} us CPU a hop, "
        f"p50 {p50:.1f} ms, p95 {p95:.1f} ms, {duplicates} duplicates"
    )


async def main() -> None:
    """Parse the command line, run, print."""
    parser = argparse.ArgumentParser(prog="bench.hops", description="What a hop costs.")
    parser.add_argument("--short", action="store_true", help="a minute, to see that everything runs; not to be quoted")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="only these")
    options = parser.parse_args()
    if "peers" in options.parts and not PEERS_PYTHON.exists():
        parser.error("the frameworks to compare with are not installed; run python3 -m infra.setup peers")
    logging.getLogger("aiokafka").setLevel(logging.ERROR)
    async with running_broker(ROOT / ".ragline", say) as kafka:
        figures = await measure(Runs(kafka), SHORT if options.short else FULL, options.parts)
    print(orjson.dumps(rounded(figures)).decode())


if __name__ == "__main__":
    asyncio.run(main())
