"""The commands of docs/clients.md, as they stand there, against a running bridge."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest

from tests.fixtures.bridges import DEADLINE_S
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


async def run(pipeline: SmallPipeline, command: str, folder: Path, *, wait: bool = True) -> asyncio.subprocess.Process:
    """Start a command of the document as a person would, in a folder of its own."""
    address = pipeline.bridge.address.removeprefix("http://")
    binaries = Path(sys.executable).parent
    return await asyncio.create_subprocess_exec(
        "bash",
        "-euo",
        "pipefail",
        "-c",
        command.replace(ADDRESS, address),
        cwd=folder,
        env={"PATH": f"{binaries}:{os.environ['PATH']}", "NO_PROXY": "*", "PYTHONUNBUFFERED": "1"},
        stdin=asyncio.subprocess.DEVNULL if wait else asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def output(pipeline: SmallPipeline, command: str, folder: Path) -> str:
    process = await run(pipeline, command, folder)
    async with asyncio.timeout(LIMIT_S):
        said, _ = await process.communicate()
    text = said.decode()
    assert process.returncode == 0, text
    return text


async def test_chat_completions(pipeline: SmallPipeline, tmp_path: Path) -> None:
    chat, _ = blocks("Tools that speak OpenAI's API", "sh")
    said = await output(pipeline, chat, tmp_path)
    assert said.startswith("Passages:\n\n[1] Title 1: The sky is blue.")
    assert "['Title 1', 'Title 2']" in said
    assert pipeline.asked[-1].top_k == 3


async def test_responses(pipeline: SmallPipeline, tmp_path: Path) -> None:
    _, responses = blocks("Tools that speak OpenAI's API", "sh")
    said = await output(pipeline, responses, tmp_path)
    assert said.startswith("Passages:\n\n[1] Title 1: The sky is blue.")
    assert said.splitlines()[-1] in {"cancelled", "completed"}
    assert pipeline.asked[-1].history is not None


async def test_curl_follows_a_question(pipeline: SmallPipeline, tmp_path: Path) -> None:
    query, _ = blocks("curl", "sh")
    said = await output(pipeline, query, tmp_path)
    events = re.findall(r"^event: (.*)$", said, re.MULTILINE)
    assert events[-1] == "terminal"
    assert {"progress", "sources", "delta"} <= set(events)
    assert '"state":"answered"' in said.splitlines()[-1]


async def test_curl_goes_on_after_the_last_event_it_has(pipeline: SmallPipeline, tmp_path: Path) -> None:
    query, _ = blocks("curl", "sh")
    said = await output(pipeline, query, tmp_path)
    ids = re.findall(r"^id: (.*)$", said, re.MULTILINE)
    follow = f"curl -sSN http://{ADDRESS}/v1/queries/curl-1/events"
    rest = await output(pipeline, f"{follow} -H 'Last-Event-ID: {ids[-3]}'", tmp_path)
    assert re.findall(r"^id: (.*)$", rest, re.MULTILINE) == ids[-2:]
    assert await output(pipeline, f"{follow} -H 'Last-Event-ID: {ids[-1]}' -w '%{{http_code}}'", tmp_path) == "204"


async def test_curl_chats(pipeline: SmallPipeline, tmp_path: Path) -> None:
    _, chat = blocks("curl", "sh")
    said = await output(pipeline, chat, tmp_path)
    *chunks, done = [line.removeprefix("data: ") for line in said.splitlines() if line]
    assert done == "[DONE]"
    assert orjson.loads(chunks[-1])["choices"][0]["finish_reason"] == "stop"


async def test_documents(pipeline: SmallPipeline, tmp_path: Path) -> None:
    (documents,) = blocks("Documents", "sh")
    uploaded, status, removed = (await output(pipeline, documents, tmp_path)).replace("}{", "}\n{").splitlines()
    assert orjson.loads(uploaded)["document_id"] == "default/hours.md"
    assert orjson.loads(uploaded)["title"] == "Opening hours"
    assert '"status":"searchable"' in status
    assert orjson.loads(removed)["status"] == "removing"


async def test_the_websockets_client(pipeline: SmallPipeline, tmp_path: Path) -> None:
    (command,) = blocks("The websockets command-line client", "sh")
    (message,) = blocks("The websockets command-line client", "json")
    process = await run(pipeline, f"exec {command}", tmp_path, wait=False)
    assert process.stdin
    assert process.stdout
    heard = b""
    try:
        async with asyncio.timeout(DEADLINE_S):
            while b"Connected" not in heard:
                heard += await process.stdout.read(4_096)
            process.stdin.write(message.encode())
            while b'"kind":"terminal"' not in heard:
                heard += await process.stdout.read(4_096)
            process.stdin.close()
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    for kind in ("accepted", "progress", "sources", "delta"):
        assert f'"kind":"{kind}"'.encode() in heard
