"""The benchmark of hops runs, and its last line holds every figure."""

import asyncio
import sys
from pathlib import Path

import orjson
import pytest

pytestmark = pytest.mark.servers

ROOT = Path(__file__).parents[2]
DEADLINE_S = 240
FIGURES = {
    "chain": {f"{pair}_{figure}_ratio" for pair in ("alo", "eos") for figure in ("throughput", "p50", "p95")},
    "head-of-line": {"head_of_line_speedup"},
    "memory": {"rss_mb_growth"},
}


async def short(*parts: str) -> dict[str, float]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.hops", "--short", "--parts", *parts), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), DEADLINE_S)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0
    figures: dict[str, float] = orjson.loads(output.splitlines()[-1])
    return figures


async def test_a_short_run_gives_all_figures() -> None:
    figures = await short("chain", "head-of-line", "memory")
    assert FIGURES["chain"] | FIGURES["head-of-line"] | FIGURES["memory"] <= figures.keys()
    assert all(value > 0 for name, value in figures.items() if name != "rss_mb_growth")
