"""The commands of docs/clients.md, as they stand there, against a running bridge."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest

from tests.fixtures.small_pipeline import SmallPipeline, small_pipeline

TEXT = (Path(__file__).parents[2] / "docs" / "clients.md").read_text()
ADDRESS = "127.0.0.1:8080"
LIMIT_S = 120


@pytest.fixture
async def pipeline() -> AsyncIterator[SmallPipeline]:
    async with small_pipeline() as running:
        running.bridge.core.documents.ready.set()
        yield running


def blocks(heading: str, language: str) -> list[str]:
    """The commands below a heading."""
    section = TEXT.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


async def output(pipeline: SmallPipeline, command: str, folder: Path) -> str:
    """Run a command of the document as a person would, in a folder of its own; gives what it said."""
    address = pipeline.bridge.address.removeprefix("http://")
    binaries = Path(sys.executable).parent
    process = await asyncio.create_subprocess_exec(
        *("bash", "-euo", "pipefail", "-c", command.replace(ADDRESS, address).replace(".venv/bin/", "")),
        cwd=folder,
        env={"PATH": f"{binaries}:{os.environ['PATH']}", "NO_PROXY": "*", "PYTHONUNBUFFERED": "1"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(LIMIT_S):
        said, _ = await process.communicate()
    text = said.decode()
    assert process.returncode == 0, text
    return text


async def test_chat_completions(pipeline: SmallPipeline, tmp_path: Path) -> None:
    chat, _, _ = blocks("Tools that speak OpenAI's API", "sh")
    said = await output(pipeline, chat, tmp_path)
    assert said.startswith("Passages:\n\n[1] Title 1: The sky is blue.")
    assert "['Title 1', 'Title 2']" in said
    assert pipeline.asked[-1].top_k == 3


async def test_responses(pipeline: SmallPipeline, tmp_path: Path) -> None:
    _, responses, _ = blocks("Tools that speak OpenAI's API", "sh")
    said = await output(pipeline, responses, tmp_path)
    assert said.startswith("Passages:\n\n[1] Title 1: The sky is blue.")
    assert said.splitlines()[-1] in {"cancelled", "completed"}
    assert pipeline.asked[-1].history is not None


async def test_a_chat_by_curl(pipeline: SmallPipeline, tmp_path: Path) -> None:
    _, _, chat = blocks("Tools that speak OpenAI's API", "sh")
    said = await output(pipeline, chat, tmp_path)
    *chunks, done = [line.removeprefix("data: ") for line in said.splitlines() if line]
    assert done == "[DONE]"
    assert orjson.loads(chunks[-1])["choices"][0]["finish_reason"] == "stop"


async def test_a_question_by_curl(pipeline: SmallPipeline, tmp_path: Path) -> None:
    ask, follow = blocks("curl", "sh")
    first = orjson.loads(await output(pipeline, ask, tmp_path))
    assert orjson.loads(await output(pipeline, ask, tmp_path)) == first
    said = await output(pipeline, follow, tmp_path)
    events = re.findall(r"^event: (.*)$", said, re.MULTILINE)
    assert events.count("terminal") == 2
    assert {"progress", "sources", "delta"} <= set(events)
    assert '"state":"answered"' in said


async def test_curl_goes_on_after_the_last_event_it_has(pipeline: SmallPipeline, tmp_path: Path) -> None:
    ask, _ = blocks("curl", "sh")
    request_id = orjson.loads(await output(pipeline, ask, tmp_path))["request_id"]
    follow = f"curl -sN http://{ADDRESS}/v1/queries/{request_id}/events"
    ids = re.findall(r"^id: (.*)$", await output(pipeline, follow, tmp_path), re.MULTILINE)
    rest = await output(pipeline, f"{follow} -H 'Last-Event-ID: {ids[-3]}'", tmp_path)
    assert re.findall(r"^id: (.*)$", rest, re.MULTILINE) == ids[-2:]
    assert await output(pipeline, f"{follow} -H 'Last-Event-ID: {ids[-1]}' -w '%{{http_code}}'", tmp_path) == "204"


async def test_options_of_the_search(pipeline: SmallPipeline, tmp_path: Path) -> None:
    options, _ = blocks("What is searched", "sh")
    said = await output(pipeline, options.replace("sleep 20", "sleep 1"), tmp_path)
    assert '"note":"The engine wrote nothing that can be searched for."' in said
    assert [asked.expansion for asked in pipeline.asked] == ["multi_query", "hyde", "multi_query"]
    assert {asked.mode for asked in pipeline.asked} == {"hybrid", "dense"}


async def test_documents(pipeline: SmallPipeline, tmp_path: Path) -> None:
    (documents,) = blocks("Documents", "sh")
    uploaded, status, removed = (await output(pipeline, documents, tmp_path)).replace("}{", "}\n{").splitlines()
    assert orjson.loads(uploaded)["document_id"] == "default/hours.md"
    assert orjson.loads(uploaded)["title"] == "Opening hours"
    assert '"status":"searchable"' in status
    assert orjson.loads(removed)["status"] == "removing"


async def test_the_websockets_client(pipeline: SmallPipeline, tmp_path: Path) -> None:
    (command,) = blocks("Websocket", "sh")
    # A model takes its time; the echo of it does not.
    said = await output(pipeline, command.replace("sleep 20", "sleep 3"), tmp_path)
    for kind in ("accepted", "progress", "sources", "delta", "terminal"):
        assert f'"kind":"{kind}"' in said
