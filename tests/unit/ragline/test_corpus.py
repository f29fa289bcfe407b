import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ragline import corpus
from ragline.corpus import CorpusError, Document, File, Skipped, demo_documents, read_all, read_lines


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.md").write_text("# Alpha\n\nText.")
    (folder / "deep" / "b.txt").write_text("Beta\n")
    return folder


def test_the_demo_corpus_has_stable_distinct_ids() -> None:
    documents = list(demo_documents())
    assert len({document.id for document in documents}) == len(documents)
    assert next(d for d in documents if d.id == "python/yield").source == "pydoc:yield"
    assert documents == list(demo_documents())


def test_a_folder_gives_its_texts_under_its_name_wherever_it_is_read_from(
    notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(notes.parent)
    expected = [
        Document("notes/a.md", "# Alpha\n\nText.", "Alpha", "notes/a.md"),
        Document("notes/deep/b.txt", "Beta\n", "Beta", "notes/deep/b.txt"),
    ]
    assert list(read_all([str(notes)])) == expected
    assert list(read_all(["notes"])) == expected
    monkeypatch.chdir(notes)
    assert list(read_all(["."])) == expected


def test_a_prefix_takes_the_place_of_the_folders_name(notes: Path) -> None:
    assert [item.id for item in read_all([str(notes)], "mine") if isinstance(item, Document)] == [
        "mine/a.md",
        "mine/deep/b.txt",
    ]


def test_other_kinds_in_a_folder_are_named_and_no_failure(notes: Path) -> None:
    (notes / "photo.png").write_bytes(b"\x89PNG\0")
    (notes / "Makefile").write_text("all:\n")
    (notes / "empty.txt").write_text(" \n")
    skipped = [item for item in read_all([str(notes)]) if isinstance(item, Skipped)]
    assert [(item.name, item.is_failure) for item in skipped] == [
        ("notes/Makefile", False),
        ("notes/empty.txt", False),
        ("notes/photo.png", False),
    ]


def test_damaged_text_is_a_failure_with_the_reason(notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "_MAX_FILE_BYTES", 100)
    (notes / "latin.txt").write_bytes("Größe".encode("latin-1"))
    (notes / "large.txt").write_text("x" * 101)
    (notes / "nowhere.txt").symlink_to(notes / "missing.txt")
    with open(os.fsencode(notes) + b"/\xff.txt", "w") as file:  # noqa: PTH123 - a name that is no text
        file.write("x")
    reasons = {item.name: item.reason for item in read_all([str(notes)]) if isinstance(item, Skipped)}
    assert reasons["notes/latin.txt"].startswith("not utf-8")
    assert reasons["notes/large.txt"].startswith("larger than")
    assert reasons["notes/nowhere.txt"] == "a link that leads nowhere"
    assert reasons["notes/?.txt"] == "its name is not UTF-8"


def test_hidden_files_are_passed_over_and_links_to_folders_not_followed(notes: Path) -> None:
    (notes / ".git").mkdir()
    (notes / ".git" / "config.txt").write_text("secret")
    (notes / ".hidden.txt").write_text("secret")
    (notes / "loop").symlink_to(notes)
    items = list(read_all([str(notes)]))
    assert [item.id for item in items if isinstance(item, Document)] == ["notes/a.md", "notes/deep/b.txt"]
    assert [item.name for item in items if isinstance(item, Skipped)] == ["notes/loop"]


def test_a_named_file_is_read_whatever_its_suffix(tmp_path: Path) -> None:
    (tmp_path / "LICENSE").write_text("Permission")
    assert list(read_all([str(tmp_path / "LICENSE")])) == [Document("LICENSE", "Permission", "LICENSE", "LICENSE")]


def test_a_missing_name_is_refused_before_anything_is_read(notes: Path) -> None:
    with pytest.raises(CorpusError, match="no file or folder nowhere"):
        read_all([str(notes), "nowhere"])
    with pytest.raises(CorpusError, match=r"no file that matches .*\*\.rst"):
        read_all([str(notes / "*.rst")])


def test_a_pattern_gives_the_ids_that_its_folder_gives(notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(notes.parent)
    (notes / "photo.png").write_bytes(b"\x89PNG\0")
    found = list(read_all(["notes/**/*"]))
    assert [item.id for item in found if isinstance(item, Document)] == ["notes/a.md", "notes/deep/b.txt"]
    assert [(item.name, item.is_failure) for item in found if isinstance(item, Skipped)] == [("notes/photo.png", False)]
    assert [item.id for item in read_all([f"{notes}/d*/*.txt"]) if isinstance(item, Document)] == ["notes/deep/b.txt"]


def test_what_is_no_text_is_found_to_be_converted(notes: Path) -> None:
    (notes / "a.pdf").write_bytes(b"%PDF-1.7")
    (notes / "b.csv").write_text("name\nx\n")
    (notes / "lies.txt").write_bytes(b"PK\x03\x04")
    files = [item for item in read_all([str(notes)]) if isinstance(item, File)]
    assert files == [File(f"notes/{name}", notes / name, f"notes/{name}") for name in ("a.pdf", "b.csv", "lies.txt")]


def test_standard_input_may_be_json_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    typed = b'{"_id": "a", "text": "One."}\n{"text": "Two."}\n{broken\n'
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(typed)))
    first, second, third = read_all(["-"], "p")
    assert first == Document("p/a", "One.", "", "p/a")
    assert second == Document("p/stdin:2", "Two.", "", "p/stdin:2")
    assert isinstance(third, Skipped)
    assert third.is_failure


def test_too_much_on_standard_input_is_not_cut_but_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "_MAX_FILE_BYTES", 100)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"x" * 101)))
    [item] = read_all(["-"])
    assert isinstance(item, Skipped)
    assert item.reason.startswith("larger than")


def test_json_lines_give_documents_and_name_the_lines_that_are_none() -> None:
    lines = [
        b'{"_id": "d1", "title": "One", "text": "First.", "source": "http"}\n',
        b'{"id": 2, "text": "Second."}\n',
        b"\n",
        b'{"text": "Third."}\n',
        b"{broken\n",
        b'["text"]\n',
        b'{"_id": "d7", "text": " "}\n',
        b'{"_id": [], "text": "x"}\n',
    ]
    items = list(read_lines(lines, "some.jsonl"))
    assert items[:3] == [
        Document("d1", "First.", "One", "http"),
        Document("2", "Second.", "", "2"),
        Document("some.jsonl:4", "Third.", "", "some.jsonl:4"),
    ]
    assert [item.name for item in items[3:] if isinstance(item, Skipped) and item.is_failure] == [
        "some.jsonl:5",
        "some.jsonl:6",
        "some.jsonl:7",
        "some.jsonl:8",
    ]


def test_metadata_of_json_lines_is_kept_and_what_is_none_is_left_out_and_said_once() -> None:
    lines = [
        b'{"_id": "a", "text": "One.", "metadata": {"year": 2021, "ok": true, "by": ["x"], "none": null}}\n',
        b'{"_id": "b", "text": "Two.", "metadata": {"by": ["y"], "lang": "en"}}\n',
        b'{"_id": "c", "text": "Three.", "metadata": {}}\n',
        b'{"_id": "d", "text": "Four.", "metadata": [1]}\n',
    ]
    notice, one, two, three, four = read_lines(lines, "corpus.jsonl")
    assert notice == Skipped(
        "corpus.jsonl: metadata.by", "left out: metadata takes texts, numbers, true and false", is_failure=False
    )
    assert one == Document("a", "One.", "", "a", {"year": 2021, "ok": True})
    assert two == Document("b", "Two.", "", "b", {"lang": "en"})
    assert three == Document("c", "Three.", "", "c")
    assert four == Skipped("corpus.jsonl:4", "its metadata is no object")


def test_of_a_beir_folder_only_the_corpus_is_read(tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").write_text('{"_id": "d1", "title": "One", "text": "First."}\n')
    (tmp_path / "queries.jsonl").write_text('{"_id": "q1", "text": "What?"}\n')
    assert [item.id for item in read_all([str(tmp_path)]) if isinstance(item, Document)] == ["d1"]


def test_json_lines_are_read_one_at_a_time(tmp_path: Path) -> None:
    (tmp_path / "many.jsonl").write_text('{"text": "x"}\n' * 1000)
    items = read_all([str(tmp_path / "many.jsonl")])
    assert isinstance(items, Iterator)
    assert isinstance(next(items), Document)


def test_standard_input_is_one_document(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"Typed text.\n")))
    assert list(read_all(["-"])) == [Document("stdin", "Typed text.\n", "stdin", "stdin")]
