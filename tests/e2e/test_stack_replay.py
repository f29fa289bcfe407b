"""What a real stack has answered is asked again from its first topic, with workers of every stage of its own."""

import asyncio
from collections import Counter
from pathlib import Path

import orjson
import pytest

from tests.fixtures.stack import Stack
from topics.specs import ANSWERS, QUERIES

pytestmark = [pytest.mark.servers, pytest.mark.models, pytest.mark.timeout(600)]

QUESTIONS = ("What does the yield expression do?", "What is a decorator?", "How are modules found?")


async def test_questions_are_replayed_from_the_first_topic_and_production_answers_nothing_twice(
    stack: Stack, tmp_path: Path
) -> None:
    async with stack.client() as client:
        answers = [await client.ask(question, max_tokens=16, temperature=0) for question in QUESTIONS]
    ids = tmp_path / "ids"
    ids.write_text("".join(f"{answer.request_id}\n" for answer in answers))
    before = await said(stack)

    replayed = await asyncio.to_thread(
        stack.run, "replay", "--from", QUERIES.name, "--ids", str(ids), "--run", "again", "--json"
    )
    assert replayed.returncode == 0, replayed.stderr
    summary = orjson.loads(replayed.stdout.splitlines()[-1])
    assert summary["states"] == {"answered": len(QUESTIONS)}
    for stage_topic, agreement in summary["agreement"].items():
        assert agreement["unmatched"] == 0, stage_topic
    assert summary["agreement"]["rag.queries.accepted"]["same"] == len(QUESTIONS)
    assert await said(stack) == before

    deleted = await asyncio.to_thread(stack.run, "runs", "delete", "again")
    assert deleted.returncode == 0, deleted.stderr


async def said(stack: Stack) -> Counter[tuple[str, str | None, bytes | None]]:
    """What was asked and answered in production so far."""
    counts: Counter[tuple[str, str | None, bytes | None]] = Counter()
    for spec in (QUERIES, ANSWERS):
        counts.update((spec.name, record.key, record.value) for record in await stack.records(spec.name))
    return counts
