"""The OpenAPI document against the running bridge, by schemathesis: every check, and thousands of requests."""

import asyncio
import re
import sys
from pathlib import Path

import pytest

from tests.fixtures.keys import HeldKeys
from tests.fixtures.small_pipeline import small_pipeline

CONFIG = Path(__file__).parents[1] / "fixtures" / "schemathesis.toml"
UNLIMITED = {"calls_per_minute": 10**9, "asks_per_minute": 10**9, "concurrent": 10**9, "total": 10**9}


# Each operation is tried in every way that the document names; the machine may have other work.
@pytest.mark.timeout(600)
async def test_the_bridge_does_what_its_openapi_document_says(tmp_path: Path) -> None:
    keys = HeldKeys()
    key = keys.make("default", "ask", "ingest")
    async with small_pipeline(keys=keys, limits=UNLIMITED) as pipeline:
        pipeline.bridge.core.documents.ready.set()
        process = await asyncio.create_subprocess_exec(
            Path(sys.executable).with_name("schemathesis"),
            *("--no-color", f"--config-file={CONFIG}", "run", f"{pipeline.bridge.address}/openapi.json"),
            *("--header", f"Authorization: Bearer {key}", "--max-examples=10", "--seed=1"),
            # A cancelled question is still to be seen, and a document until it has been taken out of the index.
            *("--checks=all", "--exclude-checks=use_after_free", "--suppress-health-check=all"),
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
    said = output.decode(errors="replace")
    assert process.returncode == 0, said[-20_000:]
    tried = re.search(r"(\d+) generated", said)
    assert tried, said[-2_000:]
    assert int(tried[1]) > 500
