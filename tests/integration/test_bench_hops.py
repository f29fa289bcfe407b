"""The benchmark of hops runs, and its last line holds every figure."""

import pytest

from tests.fixtures.benchmarks import last_line

pytestmark = pytest.mark.servers

FIGURES = {
    "chain": {f"{pair}_{figure}_ratio" for pair in ("alo", "eos") for figure in ("throughput", "p50", "p95")},
    "head-of-line": {"head_of_line_speedup"},
    "memory": {"rss_mb_growth"},
}


async def test_a_short_run_gives_all_figures() -> None:
    figures = await last_line("bench.hops", "--short", "--parts", "chain", "head-of-line", "memory")
    assert FIGURES["chain"] | FIGURES["head-of-line"] | FIGURES["memory"] <= figures.keys()
    assert all(value > 0 for name, value in figures.items() if name != "rss_mb_growth")
