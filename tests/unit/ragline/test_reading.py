"""What was found is read in order; files that must be converted are, each in a process of its own."""

import asyncio
import contextlib
from pathlib import Path

import psutil
import pytest

from backends.conversion import ConversionSettings
from ragline.corpus import Document, Found, Item, Skipped, read_all
from ragline.reading import read
from tests.fixtures.files import ENCRYPTED_PDF, docx, pdf
from tests.fixtures.pipeline import eventually


async def read_list(found: list[Found], **settings: int) -> list[Item]:
    return [item async for item in read(found, ConversionSettings.model_validate(settings))]


async def test_every_kind_becomes_text_in_the_order_of_names(tmp_path: Path) -> None:
    folder = tmp_path / "all"
    folder.mkdir()
    (folder / "a.txt").write_text("Text.")
    (folder / "b.pdf").write_bytes(pdf("A sky", "is blue", title="Skies"))
    (folder / "c.docx").write_bytes(docx("Grass", "It is green."))
    (folder / "d.html").write_text("<title>Sea</title><p>It is wide.")
    (folder / "e.csv").write_text("name,hue\nsky,blue\n")
    (folder / "f.py").write_text("print('a')\n")
    assert await read_list(list(read_all([str(folder)]))) == [
        Document("all/a.txt", "Text.", "Text.", "all/a.txt"),
        Document("all/b.pdf", "A sky\n\nis blue", "Skies", "all/b.pdf", page_starts=(0, 7)),
        Document("all/c.docx", "# Grass\n\nIt is green.", "Grass", "all/c.docx"),
        Document("all/d.html", "It is wide.", "Sea", "all/d.html"),
        Document("all/e.csv", "name: sky\nhue: blue", "e.csv", "all/e.csv"),
        Document("all/f.py", "print('a')\n", "f.py", "all/f.py"),
    ]


async def test_a_file_that_fails_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    folder = tmp_path / "bad"
    folder.mkdir()
    (folder / "corrupt.docx").write_bytes(docx("a")[:-200])
    (folder / "empty.pdf").write_bytes(b"")
    (folder / "encrypted.pdf").write_bytes(ENCRYPTED_PDF)
    (folder / "good.pdf").write_bytes(pdf("A sky"))
    (folder / "huge.csv").write_bytes(b"")
    with (folder / "huge.csv").open("r+b") as huge:
        huge.truncate(500 * 1024**2)
    (folder / "latin.csv").write_bytes("Gr\u00f6\u00dfe".encode("latin-1"))
    (folder / "scan.pdf").write_bytes(pdf(""))
    items = await read_list(list(read_all([str(folder)])))
    assert [(item.name, item.is_failure) for item in items if isinstance(item, Skipped)] == [
        ("bad/corrupt.docx", True),
        ("bad/empty.pdf", False),
        ("bad/encrypted.pdf", True),
        ("bad/huge.csv", True),
        ("bad/latin.csv", True),
        ("bad/scan.pdf", True),
    ]
    assert [item.id for item in items if isinstance(item, Document)] == ["bad/good.pdf"]
    reasons = {item.name: item.reason for item in items if isinstance(item, Skipped)}
    assert reasons["bad/huge.csv"] == "The file has 524,288,000 bytes; 26,214,400 are taken: split it."


async def test_a_file_that_goes_away_is_named(tmp_path: Path) -> None:
    file = tmp_path / "a.pdf"
    file.write_bytes(pdf("A sky"))
    found = list(read_all([str(file)]))
    file.unlink()
    [item] = await read_list(found)
    assert isinstance(item, Skipped)
    assert item.reason.startswith("cannot be read")


async def test_who_gives_up_leaves_no_process(tmp_path: Path) -> None:
    for name in ("a.html", "b.html", "c.html"):
        (tmp_path / name).write_bytes(b"<p>" + b"a <b>b</b> " * 300_000)

    async def read_first() -> None:
        async with contextlib.aclosing(read(read_all([str(tmp_path)]), ConversionSettings())) as items:
            await anext(items)

    ours = psutil.Process()
    before = set(ours.children())
    reading = asyncio.create_task(read_first())
    await eventually(lambda: len(set(ours.children()) - before) > 1, 20)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert not set(ours.children()) - before
