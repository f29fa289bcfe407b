"""Models of one name are told apart."""

from pathlib import Path

from backends.model_files import revision


def test_any_changed_file_or_name_is_another_revision(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    weights = model / "weights"
    weights.write_bytes(bytes(3 * 1024 * 1024))
    found = {revision(str(model))}
    weights.write_bytes(bytes(3 * 1024 * 1024 - 1) + b"x")
    found.add(revision(str(model)))
    weights.write_bytes(bytes(4 * 1024 * 1024))
    found.add(revision(str(model)))
    weights.rename(model / "other")
    found.add(revision(str(model)))
    assert len(found) == 4
    assert revision(str(model)) in found


def test_a_model_from_a_hub_has_its_commit(tmp_path: Path) -> None:
    model = tmp_path / "snapshots" / "0123abc"
    model.mkdir(parents=True)
    assert revision(str(model)) == "0123abc"
