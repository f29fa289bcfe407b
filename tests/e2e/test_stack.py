"""ragline as its users meet it: everything real, every worker a process."""

import asyncio
import os
import socket
import urllib.request
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError

from ragline.client import Answer, Client, RequestError, Sources, Token
from schemas.headers import Origin
from tests.fixtures.pipeline import eventually
from tests.fixtures.stack import REPOSITORY, Stack
from topics.specs import QUERIES, TOPIC_BY_NAME

pytestmark = [pytest.mark.servers, pytest.mark.models, pytest.mark.timeout(600)]

WAY = ("rag.queries", "rag.queries.accepted", "rag.queries.embedded", "rag.passages.retrieved", "rag.prompts.built")
STAGES = ["query", "embedding", "retrieval", "prompt", "generation"]
BOOK = Path(os.environ.get("RAGLINE_TEST_DATA", REPOSITORY.parent / "shared" / "data")) / "eighty-days"


@pytest.fixture(scope="session")
def empty_answer(stack: Stack) -> Answer:
    """The answer to a question that was asked before anything was ingested."""

    async def ask() -> Answer:
        async with stack.client() as client:
            return await client.ask("What does the yield expression do?")

    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(asyncio.wait_for(ask(), 120))
    finally:
        loop.close()


@pytest.fixture(scope="session")
def corpus(stack: Stack, empty_answer: Answer) -> Stack:
    """The stack with the project's own documents and the Python language reference in it."""
    assert empty_answer
    script = (
        "import asyncio\nfrom ragline.corpus import demo_documents\nfrom ragline.ingest import ingest\n"
        "from ragline.settings import load\ns = load().with_local_addresses()\n"
        "summary = asyncio.run(ingest(s.kafka, s.names, demo_documents(), report=lambda _: None))\n"
        "assert summary.ok, summary\nprint(summary.indexed + summary.unchanged)"
    )
    done = stack.python("-c", script)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 60
    return stack


def test_an_empty_collection_is_said_and_nothing_is_invented(empty_answer: Answer) -> None:
    assert empty_answer.finish_reason == "nothing_found"
    assert empty_answer.sources == ()
    assert empty_answer.usage.completion_tokens == 0


async def test_an_answer_comes_token_by_token_with_sources_and_times(corpus: Stack) -> None:
    async with corpus.client() as client:
        updates = [update async for update in client.stream("What does the yield expression do?", max_tokens=48)]
    answer = updates[-1]
    assert isinstance(answer, Answer)
    tokens = [update.text for update in updates if isinstance(update, Token)]
    assert len(tokens) > 3
    assert "".join(tokens) == answer.text
    assert any(isinstance(update, Sources) for update in updates)
    assert any("yield" in source.passage.text.lower() for source in answer.sources)
    assert [time.stage for time in answer.timeline] == STAGES
    for topic in (*WAY, "rag.answers"):
        keys = [record.key for record in await corpus.records(topic)]
        assert keys.count(answer.request_id) == 1, topic


@pytest.mark.skipif(not BOOK.is_dir(), reason=f"the book is not at {BOOK} (RAGLINE_TEST_DATA names the folder above)")
async def test_the_book_answers_what_is_in_it(corpus: Stack) -> None:
    done = corpus.run("ingest", str(BOOK))
    assert done.returncode == 0, done.stderr
    again = corpus.run("ingest", str(BOOK))
    assert "1 unchanged" in again.stdout, again.stdout
    asked = {
        "What body of water is in Utah?": "Salt Lake",
        "What is the robbery?": "fifty-five thousand pounds",
        "Did Phileas Fogg really rob the bank?": "robber",
    }
    async with corpus.client() as client:
        answers = [await client.ask(question, max_tokens=32, top_k=8) for question in asked]
    for answer, words in zip(answers, asked.values(), strict=True):
        assert any(words in source.passage.text for source in answer.sources), answer
        for topic in WAY:
            assert any(record.key == answer.request_id for record in await corpus.records(topic))


async def test_two_generation_workers_share_twenty_questions(corpus: Stack) -> None:
    before = processed(corpus)
    async with corpus.client() as client:
        answers = await asyncio.gather(*[ask(client, number) for number in range(20)])
    assert len({answer.request_id for answer in answers}) == 20
    after = processed(corpus)
    shares = {name: after[name] - before[name] for name in ("generation", "generation-2")}
    assert sum(shares.values()) == 20
    assert min(shares.values()) > 0


# Together, for each load takes its time; the engine, which loads for long, does so once.
@pytest.mark.parametrize("victims", [("query", "retrieval", "generation"), ("embedding", "prompt", "projector")])
async def test_killed_workers_leave_no_question_unanswered(corpus: Stack, victims: tuple[str, ...]) -> None:
    async with corpus.client() as client:
        asking = [asyncio.create_task(ask(client, number)) for number in range(20)]
        await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED, timeout=120)
        pids = {victim: corpus.kill(victim) for victim in victims}
        answers = await asyncio.wait_for(asyncio.gather(*asking), 240)
    assert len(answers) == 20
    ended = Counter(record.key for record in await corpus.records("rag.answers"))
    assert all(ended[answer.request_id] >= 1 for answer in answers)
    for victim, pid in pids.items():
        await eventually(
            lambda: corpus.find(victim).phase == "ready" and corpus.find(victim).pid != pid,  # noqa: B023 - called here
            deadline_s=240,
        )


@pytest.mark.parametrize("server", ["milvus", "valkey"])
async def test_a_server_that_goes_away_holds_questions_back_and_loses_none(corpus: Stack, server: str) -> None:
    async with corpus.client() as client:
        corpus.kill(server)
        answers = await asyncio.wait_for(asyncio.gather(*[ask(client, number) for number in range(4)]), 240)
    assert all(answer.text for answer in answers)
    await eventually(lambda: corpus.find(server).phase == "ready", deadline_s=120)


BAD = {
    "not-json": (b"what is yield?", "undecodable"),
    "wrong-shape": (b'{"question": ["a"]}', "undecodable"),
    "no-question": (b'{"text": "a"}', "undecodable"),
    "empty": (b'{"question": "   "}', "empty_question"),
    "megabyte": (orjson.dumps({"question": "a" * 1_000_000}), "question_too_long"),
    "binary": (b'{"question": "\\u0000\\u0001\\u0002"}', "binary_question"),
    "unknown-model": (b'{"question": "a", "model": "gpt-99"}', "unknown_model"),
    "unknown-tenant": (b'{"question": "a", "tenant": "nobody"}', "unknown_tenant"),
    "out-of-range": (b'{"question": "a", "top_k": 100000}', "invalid_option"),
}


async def test_bad_input_gets_one_clear_terminal_event_each(corpus: Stack) -> None:
    run = f"bad-{os.getpid()}-{datetime.now(UTC).timestamp():.0f}"
    topic = corpus.settings.names.topic(QUERIES)
    past = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
    others = {
        "unknown-field": {"question": "What is a tuple?", "max_tokens": 8, "shoe_size": 43},
        "twice": {"question": "What is a list?", "max_tokens": 8},
        "late": {"question": "What is a set?", "deadline_at": past},
    }
    async with AIOKafkaProducer(**corpus.settings.kafka.client_options(), max_request_size=8 * 1024 * 1024) as producer:
        for name, (value, _) in BAD.items():
            await producer.send_and_wait(topic, value, f"{run}-{name}".encode())
        for name, body in others.items():
            await producer.send_and_wait(topic, orjson.dumps(body), f"{run}-{name}".encode())
        await producer.send_and_wait(topic, orjson.dumps(others["twice"]), f"{run}-twice".encode())
        with pytest.raises(MessageSizeTooLargeError):
            await producer.send_and_wait(topic, b"x" * (QUERIES.max_message_bytes + 1), b"too-large")
        no_key = await producer.send_and_wait(topic, b'{"question": "What is None?", "max_tokens": 8}')

    async def ended() -> bool:
        keys = {record.key for record in await corpus.records("rag.answers")}
        return {f"{run}-{name}" for name in [*BAD, *others]} <= keys

    await eventually(ended, deadline_s=120)
    endings = {record.key: record for record in await corpus.records("rag.answers")}
    count = Counter(record.key for record in await corpus.records("rag.answers"))
    for name, (_, code) in BAD.items():
        ending = endings[f"{run}-{name}"]
        assert ending.body["code"] == code, name
        assert ending.body["message"].rstrip().count("\n") == 0
        assert count[ending.key] == 1, name
    assert endings[f"{run}-unknown-field"].headers.type == "ragline.answered.v1"
    assert endings[f"{run}-late"].headers.type == "ragline.request.expired.v1"
    assert count[f"{run}-twice"] == 1
    origins = [record.headers.origin for record in await corpus.records("rag.queries.accepted")]
    assert Origin(topic, no_key.partition, no_key.offset) in origins


async def test_a_request_id_asked_twice_by_the_client_is_answered_once(corpus: Stack) -> None:
    request_id = f"twice-{datetime.now(UTC).timestamp()}"
    async with corpus.client() as client:
        first = await client.ask("What is a dict?", request_id=request_id, max_tokens=8)
        second = await client.ask("What is a set?", request_id=request_id, max_tokens=8)
    assert second == first
    keys = [record.key for record in await corpus.records("rag.answers")]
    assert keys.count(first.request_id) == 1


async def test_a_question_too_large_for_the_topic_is_refused_in_one_sentence(corpus: Stack) -> None:
    async with corpus.client() as client:
        with pytest.raises(RequestError, match=r"more than a record of rag\.queries takes"):
            await client.ask("a" * 3_000_000)


def test_the_commands_say_what_there_is(corpus: Stack) -> None:
    status = corpus.run("status")
    assert status.returncode == 0, status.stderr
    assert all(name in status.stdout for name in [*STAGES, "indexing", "kafka", "bridge", "monitor"])
    plan = corpus.run("topics", "plan")
    assert plan.returncode == 0, plan.stdout
    describe = corpus.run("topics", "describe")
    assert all(name in describe.stdout for name in TOPIC_BY_NAME)
    asked = corpus.run("ask", "What does the pass statement do?", "--max-tokens", "24")
    assert asked.returncode == 0, asked.stderr
    assert "Sources" in asked.stdout
    assert "generation" in asked.stdout
    wrong = corpus.run("ask", " ")
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("error:")


def test_the_examples_run(corpus: Stack) -> None:
    servers = corpus.settings.kafka.bootstrap_servers
    plain = corpus.python("examples/kafka_records.py", "What does the yield expression do?", servers)
    assert plain.returncode == 0, plain.stderr
    assert plain.stdout.strip()
    client = corpus.python("examples/client.py")
    assert client.returncode == 0, client.stderr
    assert "[1]" in client.stdout


def test_a_second_stack_on_the_same_ports_is_refused_in_one_sentence(corpus: Stack, tmp_path: Path) -> None:
    other = {**corpus.environment, "RAGLINE_LOCAL__DATA_DIR": str(tmp_path)}
    done = Stack(tmp_path, other, corpus.process).run("up", "--only", "infra")
    assert done.returncode == 1
    assert done.stderr.startswith("error:")
    assert str(corpus.settings.local.kafka_port) in done.stderr


def test_page_and_monitor_are_served(corpus: Stack) -> None:
    bridge, monitor = corpus.settings.bridge, corpus.settings.monitor
    with urllib.request.urlopen(f"http://{bridge.host}:{bridge.port}/") as page:
        assert b"<script" in page.read()
        assert "default-src 'none'" in page.headers["content-security-policy"]
    with urllib.request.urlopen(f"http://{monitor.http_host}:{monitor.http_port}/latency") as latency:
        assert "generation" in orjson.loads(latency.read())["stages"]
    with socket.create_connection((bridge.host, bridge.port), timeout=5):
        pass


async def ask(client: Client, number: int) -> Answer:
    questions = ("What is a tuple?", "What does break do?", "What is a class?", "What does import do?")
    return await client.ask(f"{questions[number % 4]} ({number})", max_tokens=24)


def processed(stack: Stack) -> dict[str, int]:
    counts = {}
    for name in ("generation", "generation-2"):
        port = stack.find(name).http_port
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/status") as page:
            counts[name] = orjson.loads(page.read())["processed"]
    return counts
