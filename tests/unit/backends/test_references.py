"""References open what is allowed, and nothing else."""

import os
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from pydantic import ValidationError

from backends.errors import BackendRejectedError, BackendUnavailableError
from backends.references import References, ReferenceSettings


@pytest.fixture
def top(tmp_path: Path) -> Path:
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "a b.txt").write_text("Größe")
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "texts-too").mkdir()
    (tmp_path / "texts-too" / "c.txt").write_text("secret")
    return folder


def references(top: Path, **settings: Any) -> References:
    return References(ReferenceSettings.model_validate({"allowed": (f"file://{top}/",)} | settings))


async def test_a_file_below_an_allowed_prefix_is_read(top: Path) -> None:
    for uri in (f"file://{top}/a%20b.txt", f"file://localhost{top}/a b.txt"):
        assert await references(top).read(uri) == "Größe"


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("file://{top}/../secret.txt", "plain path"),
        ("file://{top}/%2e%2e/secret.txt", "plain path"),
        ("file://{top}/%2e%2e%2fsecret.txt", "plain path"),
        ("file://{top}-too/c.txt", "not below"),
        ("file://{top}", "not below"),
        ("file:///etc/passwd", "not below"),
        ("file:{top}/a.txt", "no"),
        ("file://elsewhere{top}/a.txt", "file:///path"),
        ("file://{top}/link.txt", "not below"),
        ("file://{top}/out/secret.txt", "not below"),
        ("file://{top}/a b.txt?x=1", "plain path"),
        ("file://{top}/a b.txt#x", "plain path"),
        ("file://{top}/a%00b.txt", "plain path"),
        ("file://{top}/folder", "not a file"),
        ("file://{top}/pipe", "not a file"),
        ("file://{top}/missing.txt", "No such file"),
        ("file://{top}/binary.txt", "no text: binary"),
        ("file://{top}/long.txt", "over 100 bytes"),
        ("file://{top}/empty.txt", "is empty"),
        ("{top}/a b.txt", "only file:// and s3://"),
        ("http://127.0.0.1/a", "only file:// and s3://"),
        ("simplecache::file://{top}/a b.txt", "only file:// and s3://"),
        ("s3://bucket/key", "not below"),
        ("s3:///key", "s3://bucket/key"),
        ("s3://user@bucket/key", "s3://bucket/key"),
        ("", "only file:// and s3://"),
    ],
)
async def test_all_else_is_refused_in_a_sentence(top: Path, uri: str, reason: str) -> None:
    (top / "link.txt").symlink_to(top.parent / "secret.txt")
    (top / "out").symlink_to(top.parent)
    (top / "folder").mkdir()
    os.mkfifo(top / "pipe")
    (top / "binary.txt").write_bytes(b"\0")
    (top / "long.txt").write_text("x" * 101)
    (top / "empty.txt").write_text("")
    with pytest.raises(BackendRejectedError) as error:
        await references(top, max_bytes=100).read(uri.format(top=top))
    assert reason in str(error.value)
    assert "secret" not in str(error.value).replace("secret.txt", "")
    assert "\n" not in str(error.value)


async def test_without_a_prefix_nothing_is_read(top: Path) -> None:
    with pytest.raises(BackendRejectedError, match="not below"):
        await references(top, allowed=()).read(f"file://{top}/a%20b.txt")


async def test_what_is_written_is_read_back_and_is_once_there(top: Path) -> None:
    there = references(top, write_to=f"file://{top}/deep/er/")
    assert there.can_write
    uri = await there.write("Long text\n")
    assert await there.write("Long text\n") == uri
    assert await there.read(uri) == "Long text\n"
    assert [path.suffix for path in (top / "deep" / "er").iterdir()] == [".txt"]


async def test_a_place_that_takes_nothing_is_told(top: Path) -> None:
    (top / "file").write_text("x")
    with pytest.raises(BackendRejectedError, match="takes no text"):
        await references(top, write_to=f"file://{top}/file").write("Text")


@pytest.mark.parametrize(
    "settings",
    [
        {"allowed": ("file:///data",)},
        {"allowed": ("http://x/",)},
        {"allowed": ("/data/",)},
        {"allowed": (), "write_to": "file:///data"},
        {"allowed": ("file:///data/",), "write_to": "file:///other"},
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ReferenceSettings.model_validate(settings)


async def test_objects_of_a_bucket_are_read_and_written(monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = MemoryFileSystem()
    monkeypatch.setattr(fsspec, "filesystem", lambda scheme, **_: {"s3": bucket}[scheme])
    there = References(ReferenceSettings(allowed=("s3://bucket/texts/",), write_to="s3://bucket/texts/in"))
    uri = await there.write("Größe")
    assert uri.startswith("s3://bucket/texts/in/")
    assert await there.read(uri) == "Größe"
    with pytest.raises(BackendRejectedError, match="not below"):
        await there.read(uri.replace("/texts/", "/others/"))

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("the library failed")

    monkeypatch.setattr(bucket, "open", fail)
    with pytest.raises(BackendUnavailableError, match="cannot be read now"):
        await there.read(uri)


async def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ImportError("Install s3fs")

    monkeypatch.setattr(fsspec, "filesystem", missing)
    with pytest.raises(BackendRejectedError, match="extra 's3'"):
        await References(ReferenceSettings(allowed=("s3://b/",))).read("s3://b/k")
