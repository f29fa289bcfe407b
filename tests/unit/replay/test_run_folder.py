import os
import signal
import subprocess
import sys
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.run_folder.errors import RunError
from replay.run_folder.manifest import FILE, FORMAT, Manifest, RunSource
from replay.run_folder.reader import Run, delete_run, find_run, list_runs
from replay.run_folder.rows import AnswerRow, PassageRow, RequestRow, SourceRef, StampRow
from replay.run_folder.tables import from_arrow, to_arrow
from replay.run_folder.writer import ROW_GROUP_ROWS, RunWriter


def request(number: int) -> RequestRow:
    return RequestRow(f"r{number}", f"q{number}", "default", f"Question {number}?")


def test_rows_come_back_as_they_were_added(tmp_path: Path) -> None:
    rows = {
        RequestRow: [RequestRow("r1", "q1", "default", "Why?", 5, "batch", '{"top_k":5}', "[]", 2, 2**40)],
        PassageRow: [
            PassageRow("r1", 1, "c1", "d1", "Title", "Text \u2028\0", "file.md", 3, 0.1),
            PassageRow("r1", 2, "c2", "d1"),
        ],
        AnswerRow: [
            AnswerRow("r1", "answered", "Because [1].", "stop", sources=(SourceRef(1, "c1"), SourceRef(2, "c2"))),
            AnswerRow("r2", "failed", stage="prompt", code="no_room", message="It does not fit."),
        ],
        StampRow: [StampRow("r1", "prompt", 1, 2, 1, '{"template":"default"}'), StampRow("r1", "generation")],
    }
    with RunWriter.create(tmp_path / "one", Manifest(name="one")) as writer:
        for added in rows.values():
            writer.add(added)
        writer.finish()
    run = Run(tmp_path / "one")
    assert run.manifest.state == "complete"
    assert run.manifest.finished_at
    for kind, added in rows.items():
        assert list(run.rows(kind)) == added  # type: ignore[type-var]
        assert run.count(kind) == len(added)


@given(
    st.lists(st.builds(SourceRef, st.integers(0, 2**63 - 1), st.text()), max_size=3), st.text(), st.none() | st.text()
)
def test_any_text_and_number_survives(sources: list[SourceRef], text: str, message: str | None) -> None:
    row = AnswerRow("r", "answered", text, message=message, sources=tuple(sources))
    [batch] = to_arrow(AnswerRow, [row]).to_batches()
    assert list(from_arrow(AnswerRow, batch)) == [row]


def test_only_what_a_checkpoint_named_counts(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    with RunWriter.create(folder, Manifest(name="one")) as writer:
        writer.add([request(1)])
        writer.checkpoint({"next": 1})
        writer.add([request(2)])
    assert list(Run(folder).rows(RequestRow)) == [request(1)]
    assert len(list(folder.glob("*/*"))) == 1
    with RunWriter.resume(folder) as writer:
        assert writer.manifest.position == {"next": 1}
        writer.add([request(2)])
        writer.checkpoint({"next": 2})
        writer.checkpoint()
    run = Run(folder)
    assert list(run.rows(RequestRow)) == [request(1), request(2)]
    assert run.manifest.position == {"next": 2}
    assert run.manifest.state == "partial"


def test_many_rows_are_held_in_memory_a_row_group_at_a_time(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    count = 2 * ROW_GROUP_ROWS + 1
    with RunWriter.create(folder, Manifest(name="one")) as writer:
        for number in range(count):
            writer.add([request(number)])
            assert len(writer._open[RequestRow]._rows) < ROW_GROUP_ROWS
        writer.finish()
    [part] = folder.glob("requests/*.parquet")
    assert pq.ParquetFile(part).num_row_groups == 3
    assert [row.request_id for row in Run(folder).rows(RequestRow)] == [f"r{number}" for number in range(count)]


_KILLED = """
import os, signal, sys
from pathlib import Path
from replay.run_folder.rows import RequestRow
from replay.run_folder.writer import RunWriter
writer = RunWriter.resume(Path(sys.argv[1]))
at = writer.manifest.position["next"]
for number in range(at, at + 10_000):
    if number == at + 5_000:
        writer.checkpoint({"next": number})
    writer.add([RequestRow(str(number), str(number), "default", "Why?")])
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_run_that_was_killed_goes_on_without_loss_or_repetition(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    RunWriter.create(folder, Manifest(name="one", position={"next": 0})).close()
    for _ in range(2):
        killed = subprocess.run([sys.executable, "-c", _KILLED, folder], check=False, env=os.environ)  # noqa: S603 - our own program
        assert killed.returncode == -signal.SIGKILL
    with RunWriter.resume(folder) as writer:
        writer.finish()
    assert [row.request_id for row in Run(folder).rows(RequestRow)] == [str(number) for number in range(10_000)]
    assert len(list(folder.glob("*/*"))) == 2


def test_a_manifest_that_could_not_be_written_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "one"
    with RunWriter.create(folder, Manifest(name="one")) as writer:
        writer.add([request(1)])
        monkeypatch.setattr(Manifest, "write", _no_space)
        with pytest.raises(OSError, match="No space"):
            writer.checkpoint()
        monkeypatch.undo()
    assert Run(folder).count(RequestRow) == 0
    assert not list(folder.glob("*/*"))


def _no_space(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_one_process_writes_a_run(tmp_path: Path) -> None:
    with (
        RunWriter.create(tmp_path / "one", Manifest(name="one")),
        pytest.raises(RunError, match="another process writes the run one"),
    ):
        RunWriter.resume(tmp_path / "one")


def test_a_name_in_use_and_a_run_that_is_complete_are_refused_and_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    with RunWriter.create(folder, Manifest(name="one")) as writer:
        writer.add([request(1)])
        writer.finish()
    with pytest.raises(RunError, match="there is a run one already"):
        RunWriter.create(folder, Manifest(name="one"))
    with pytest.raises(RunError, match="the run one is complete"):
        RunWriter.resume(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["one"]
    assert list(Run(folder).rows(RequestRow)) == [request(1)]


@pytest.mark.parametrize("name", ["", "-x", "a/b", "..", "é", "x" * 65])
def test_names_that_no_topic_could_have_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(RunError, match="a run cannot be named"):
        RunWriter.create(tmp_path / "one", Manifest(name=name))
    assert not list(tmp_path.iterdir())


def test_what_another_version_wrote_is_read_and_kept(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    with RunWriter.create(
        folder, Manifest(name="one", source=RunSource(topic="rag.queries", offsets={0: (3, 9)}))
    ) as w:
        w.add([request(1)])
        w.checkpoint()
    manifest = orjson.loads((folder / FILE).read_bytes())
    (folder / FILE).write_bytes(orjson.dumps(manifest | {"mood": "good"}))
    part = folder / "requests/part-000000.parquet"
    table = pq.read_table(part)
    # Without a column of ours, with one that is not ours.
    pq.write_table(table.drop_columns(["lane"]).append_column("colour", pa.array(["red"])), part)
    assert list(Run(folder).rows(RequestRow)) == [request(1)]
    with RunWriter.resume(folder) as writer:
        writer.finish()
    assert orjson.loads((folder / FILE).read_bytes())["mood"] == "good"
    assert Run(folder).manifest.source == RunSource(topic="rag.queries", offsets={0: (3, 9)})


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda folder: (folder / FILE).unlink(), "is no run"),
        (lambda folder: (folder / FILE).write_text("{"), "is damaged"),
        (lambda folder: (folder / FILE).write_text(f'{{"name":"one","format":{FORMAT + 1}}}'), "take a newer one"),
        (
            lambda folder: (folder / FILE).write_text(
                '{"name":"one","parts":{"requests":[{"file":"../../x.parquet","rows":1}]}}'
            ),
            "no file of a run",
        ),
        (lambda folder: (folder / "requests/part-000000.parquet").unlink(), "is missing"),
        (lambda folder: (folder / "requests/part-000000.parquet").write_bytes(b"PAR1"), "is damaged"),
        (
            lambda folder: pq.write_table(pa.table({"query_id": ["q"]}), folder / "requests/part-000000.parquet"),
            "has no column question, request_id, tenant",
        ),
    ],
)
def test_damage_is_one_sentence(tmp_path: Path, damage: object, sentence: str) -> None:
    folder = tmp_path / "one"
    with RunWriter.create(folder, Manifest(name="one")) as writer:
        writer.add([request(1)])
        writer.finish()
    assert callable(damage)
    damage(folder)
    with pytest.raises(RunError, match=sentence):
        list(Run(folder).rows(RequestRow))


def test_runs_are_found_listed_and_deleted(tmp_path: Path) -> None:
    for name in ("one", "two"):
        RunWriter.create(tmp_path / name, Manifest(name=name)).close()
    (tmp_path / "other").mkdir()
    assert [manifest.name for manifest in list_runs(tmp_path)] == ["one", "two"]
    assert find_run("one", tmp_path).name == find_run(str(tmp_path / "one"), Path("elsewhere")).name == "one"
    with pytest.raises(RunError, match=r"there is no run three in .*; there are: one, two"):
        find_run("three", tmp_path)
    delete_run(tmp_path / "one")
    with pytest.raises(RunError, match="is no run"):
        delete_run(tmp_path / "other")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "two"]
