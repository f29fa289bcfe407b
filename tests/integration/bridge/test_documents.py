"""Documents over HTTP."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from backends.live_view import LiveViewSettings
from schemas.events import DocumentFailed, DocumentIndexed, DocumentSubmitted, DocumentWithdrawn
from schemas.revision import document_revision
from tests.fixtures.bridges import DEADLINE_S, Bridge, running_bridge
from tests.fixtures.files import ENCRYPTED_PDF, docx, pdf
from tests.fixtures.keys import HeldKeys, bearer

URL = "/v1/documents"


@pytest.fixture
async def http(bridge: Bridge) -> AsyncIterator[httpx.AsyncClient]:
    bridge.core.documents.ready.set()
    async with bridge.http() as client:
        yield client


async def upload(
    http: httpx.AsyncClient, name: str, content: bytes | str, media_type: str = "text/plain", **fields: Any
) -> httpx.Response:
    return await http.post(URL, files={"file": (name, content, media_type)}, **fields)


async def submitted(bridge: Bridge, key: str) -> DocumentSubmitted:
    published = await bridge.published()
    assert isinstance(published.event, DocumentSubmitted)
    assert published.key == key
    return published.event


def index(bridge: Bridge, key: str, revision: str, chunks: int = 2, tenant: str = "default") -> None:
    """What the ingest stages say in the end."""
    event = DocumentIndexed(document_id=key, revision=revision, tenant=tenant, chunks=chunks, added=chunks, removed=0)
    bridge.core.documents.take(event, at_ms=2**50)


async def test_an_upload_is_a_document_like_any_other_and_searchable_when_that_is_said(
    bridge: Bridge, http: httpx.AsyncClient
) -> None:
    response = await upload(http, "skies.md", "# Skies\n\nThey are blue.")
    assert response.status_code == 202
    assert response.json() == {
        "document_id": "default/skies.md",
        "status": "processing",
        "chunks": 0,
        "failure": None,
        "title": "Skies",
        "source": "skies.md",
        "characters": 23,
    }
    event = await submitted(bridge, "default/skies.md")
    assert event == DocumentSubmitted(
        text="# Skies\n\nThey are blue.", title="Skies", source="skies.md", tenant="default"
    )
    path = f"{URL}/default/skies.md"
    assert (await http.get(path)).json()["status"] == "processing"
    index(bridge, "default/skies.md", "of an older revision")
    assert (await http.get(path)).json()["status"] == "processing"
    index(bridge, "default/skies.md", document_revision(event))
    assert (await http.get(path)).json() == {
        "document_id": "default/skies.md",
        "status": "searchable",
        "chunks": 2,
        "failure": None,
    }
    assert (await http.get(f"{URL}/default%2Fskies.md")).json()["status"] == "searchable"


async def test_one_that_a_stage_refuses_says_why(bridge: Bridge, http: httpx.AsyncClient) -> None:
    await upload(http, "a.txt", "a")
    revision = document_revision(await submitted(bridge, "default/a.txt"))
    failed = DocumentFailed(
        document_id="default/a.txt",
        revision=revision,
        tenant="default",
        stage="chunking",
        code="bad_document",
        message="It is bad.",
    )
    bridge.core.documents.take(failed, at_ms=2**50)
    body = (await http.get(f"{URL}/default/a.txt")).json()
    assert (body["status"], body["failure"]["code"], body["failure"]["message"]) == (
        "failed",
        "bad_document",
        "It is bad.",
    )


async def test_one_that_is_taken_away_is_gone_when_that_is_said(bridge: Bridge, http: httpx.AsyncClient) -> None:
    index(bridge, "default/a.txt", "r")
    response = await http.delete(f"{URL}/default/a.txt")
    assert (response.status_code, response.json()["status"]) == (202, "removing")
    published = await bridge.published()
    assert (published.key, published.event, published.tenant) == ("default/a.txt", DocumentWithdrawn(), "default")
    assert (await http.get(f"{URL}/default/a.txt")).json()["status"] == "removing"
    index(bridge, "default/a.txt", document_revision(DocumentSubmitted(text="")), chunks=0)
    assert (await http.get(f"{URL}/default/a.txt")).status_code == 404


async def test_documents_that_came_by_another_way_are_seen_and_taken_away(
    bridge: Bridge, http: httpx.AsyncClient
) -> None:
    assert (await http.delete(f"{URL}/python/yield")).status_code == 404
    index(bridge, "python/yield", "r")
    assert (await http.get(f"{URL}/python/yield")).json()["status"] == "searchable"
    assert (await http.delete(f"{URL}/python/yield")).status_code == 202
    assert (await bridge.published()).key == "python/yield"


@pytest.mark.parametrize(
    ("name", "content", "media_type", "text"),
    [
        ("a.txt", b"They are blue.", "text/plain", "They are blue."),
        ("a.html", b"<h1>Skies</h1><script>evil()</script>", "text/html", "# Skies"),
        ("a.pdf", pdf("They are blue."), "application/pdf", "They are blue."),
        ("a.docx", docx("Skies"), "application/vnd.openxmlformats-officedocument", "# Skies"),
        ("a.exe", pdf("They are blue."), "image/png", "They are blue."),
    ],
)
async def test_each_kind_of_file_becomes_text(
    bridge: Bridge, http: httpx.AsyncClient, name: str, content: bytes, media_type: str, text: str
) -> None:
    assert (await upload(http, name, content, media_type, data={"title": " My  title "})).status_code == 202
    event = await submitted(bridge, f"default/{name}")
    assert (event.text, event.title) == (text, "My title")


async def test_metadata_and_pages_are_a_part_of_the_document(bridge: Bridge, http: httpx.AsyncClient) -> None:
    data = {"metadata": '{"year": 2021, "lang": "en", "is_draft": false}'}
    response = await upload(http, "a.pdf", pdf("They are", "blue."), data=data)
    assert response.status_code == 202
    event = await submitted(bridge, "default/a.pdf")
    assert event.metadata == {"year": 2021, "lang": "en", "is_draft": False}
    assert event.page_starts == (0, 10)
    index(bridge, "default/a.pdf", document_revision(event))
    assert (await http.get(f"{URL}/default/a.pdf")).json()["status"] == "searchable"


@pytest.mark.parametrize(
    ("metadata", "sentence"),
    [
        ("{", "The metadata must be a JSON object, as text."),
        ("[1]", "The metadata must be a JSON object, as text."),
        ('{"a": []}', "The metadata's field a is a list; texts, numbers, true and false are taken."),
    ],
)
async def test_metadata_that_cannot_be_used(
    bridge: Bridge, http: httpx.AsyncClient, metadata: str, sentence: str
) -> None:
    response = await upload(http, "a.txt", "a", data={"metadata": metadata})
    assert (response.status_code, response.json()["error"]["message"]) == (422, sentence)
    assert bridge.publisher.published.empty()


@pytest.mark.parametrize(
    ("name", "content", "status", "code"),
    [
        ("a.bin", bytes(range(256)), 415, "unsupported_file"),
        ("a.pdf", ENCRYPTED_PDF, 422, "encrypted_file"),
        ("a.pdf", b"%PDF-1.7", 422, "damaged_file"),
        ("a.txt", b"", 422, "empty_file"),
        ("a.docx", docx("a", more={"word/x": b"\0" * 300_000_000}), 413, "too_large"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_file_that_cannot_be_used(
    bridge: Bridge, http: httpx.AsyncClient, name: str, content: bytes, status: int, code: str
) -> None:
    response = await upload(http, name, content)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert response.json()["error"]["message"]
    assert bridge.publisher.published.empty()


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ({"json": {"url": "http://127.0.0.1:1/evil"}}, 415),
        ({"data": {"url": "http://127.0.0.1:1/evil"}}, 415),
        ({"content": b"text", "headers": {"content-type": "text/plain"}}, 415),
        ({"files": {"other": ("a.txt", b"a")}}, 422),
        ({"files": {"title": ("", "t")}}, 422),
        ({"files": [("file", ("a.txt", b"a")), ("file", ("b.txt", b"b"))]}, 400),
        ({"files": {"file": ("a.txt", b"a")}, "data": {"title": "t" * 301}}, 422),
        ({"files": {"file": ("a.txt", b"a")}, "data": {"title": "t" * 5_000}}, 400),
        ({"files": {"file": ("a.txt", b"a")}, "data": {str(at): "v" for at in range(9)}}, 400),
        ({"content": b"--b\r\nno form", "headers": {"content-type": "multipart/form-data; boundary=b"}}, None),
        ({"content": b"", "headers": {"content-type": "multipart/form-data"}}, 400),
        ({"content": b"\xff" * 999, "headers": {"content-type": "multipart/form-data; boundary=b"}}, None),
    ],
)
async def test_a_body_that_is_no_upload(
    bridge: Bridge, http: httpx.AsyncClient, request_: dict[str, Any], status: int | None
) -> None:
    response = await http.post(URL, **request_)
    assert response.status_code == status or (status is None and response.status_code in {400, 422})
    assert set(response.json()["error"]) == {"code", "message"}
    assert bridge.publisher.published.empty()


async def test_an_upload_over_the_limit_is_refused_as_it_arrives() -> None:
    async with running_bridge(max_upload_bytes=10_000) as bridge, bridge.http() as http:
        response = await upload(http, "a.txt", "a" * 20_000)
        assert (response.status_code, response.json()["error"]["code"]) == (413, "too_large")
    async with running_bridge(conversion={"max_chars": 100}) as bridge, bridge.http() as http:
        response = await upload(http, "a.txt", "a" * 200)
        assert (response.status_code, response.json()["error"]["code"]) == (413, "too_large")


async def test_names_are_no_paths(bridge: Bridge, http: httpx.AsyncClient) -> None:
    for name in ("../../../etc/cron.d/x.txt", "..\\..\\x.txt", "/etc/x.txt"):
        assert (await upload(http, name, "a")).json()["document_id"] == "default/x.txt"
        await submitted(bridge, "default/x.txt")


async def test_tenants_do_not_meet() -> None:
    keys = HeldKeys()
    ours, theirs, asker = keys.make("ours", "ingest"), keys.make("theirs", "ingest"), keys.make("ours", "ask")
    async with running_bridge(keys=keys) as bridge, bridge.http() as http:
        bridge.core.documents.ready.set()
        assert (await upload(http, "a.txt", "a")).status_code == 401
        assert (await upload(http, "a.txt", "a", headers=bearer(asker))).status_code == 403
        assert bridge.publisher.published.empty()
        response = await upload(http, "a.txt", "a", headers=bearer(ours))
        assert response.json()["document_id"] == "ours/a.txt"
        assert (await bridge.published()).tenant == "ours"
        index(bridge, "shared", "r", tenant="ours")
        for path in ("ours/a.txt", "shared"):
            assert (await http.get(f"{URL}/{path}", headers=bearer(ours))).status_code == 200
            for method in ("GET", "DELETE"):
                response = await http.request(method, f"{URL}/{path}", headers=bearer(theirs))
                assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")
        assert bridge.publisher.published.empty()


async def test_systems_that_are_down(bridge: Bridge, http: httpx.AsyncClient) -> None:
    bridge.publisher.available = False
    assert (await upload(http, "a.txt", "a")).status_code == 503
    bridge.publisher.available, bridge.live_view.available = True, False
    assert (await upload(http, "a.txt", "a")).status_code == 202
    assert (await http.get(f"{URL}/default/a.txt")).status_code == 503


async def test_until_the_past_is_known_nothing_is_said_to_be_missing(bridge: Bridge) -> None:
    async with bridge.http() as http:
        response = await http.get(f"{URL}/default/a.txt")
        assert (response.status_code, response.json()["error"]["code"]) == (503, "overloaded")
        assert response.headers["retry-after"]
        bridge.core.documents.ready.set()
        assert (await http.get(f"{URL}/default/a.txt")).status_code == 404


async def test_more_uploads_than_there_is_room_for() -> None:
    slow = b"<p>" + b"a <b>b</b> " * 200_000
    async with running_bridge(conversion={"processes": 1, "waiting": 0}) as bridge, bridge.http() as http:
        first = asyncio.create_task(upload(http, "a.html", slow))
        second = asyncio.create_task(upload(http, "b.html", slow))
        done, pending = await asyncio.wait({first, second}, return_when=asyncio.FIRST_COMPLETED, timeout=DEADLINE_S)
        (refused,) = done
        assert (refused.result().status_code, refused.result().headers["retry-after"]) == (503, "5")
        for task in pending:
            task.cancel()
        await asyncio.wait(pending)


async def test_what_was_noted_expires_and_the_topic_still_tells(bridge: Bridge, http: httpx.AsyncClient) -> None:
    now = [1_000_000.0]
    bridge.live_view._clock = lambda: now[0]
    await upload(http, "a.txt", "a")
    index(bridge, "default/a.txt", document_revision(await submitted(bridge, "default/a.txt")))
    now[0] += LiveViewSettings().ttl_s + 1
    assert (await http.get(f"{URL}/default/a.txt")).json()["status"] == "searchable"
