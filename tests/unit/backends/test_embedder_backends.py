import importlib.util
from pathlib import Path

import pytest
from pydantic import ValidationError

from backends.embedder import EmbedderSettings
from backends.errors import BackendRejectedError
from backends.exported_model import check_installed
from backends.model_files import fingerprint
from backends.sentence_transformers_embedder import SentenceTransformersEmbedder


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"precision": "int8"}, "torch computes in float32 or bfloat16, not in int8"),
        ({"backend": "onnx", "precision": "bfloat16"}, "onnx computes in float32 or int8"),
        ({"backend": "openvino", "precision": "int8"}, "openvino computes in float32 or bfloat16"),
        ({"backend": "openvino", "device": "cuda"}, "openvino computes on the CPU"),
    ],
)
def test_what_a_backend_cannot_do_is_refused_in_a_sentence(given: dict[str, str], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        EmbedderSettings.model_validate(given)


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    settings = EmbedderSettings.model_validate({"backend": backend})
    with pytest.raises(BackendRejectedError, match=f"install ragline with the extra '{backend}'"):
        check_installed(settings.backend)
    check_installed("torch")


def test_other_backends_need_an_export() -> None:
    with pytest.raises(ValueError, match="runs exported models only"):
        SentenceTransformersEmbedder(EmbedderSettings(backend="onnx"))


def test_a_fingerprint_is_of_names_and_bytes(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    file = tmp_path / "deep" / "weights"
    seen = set()
    for name, content in (("weights", b"1"), ("weights", b"2"), ("other", b"2")):
        file.unlink(missing_ok=True)
        file = tmp_path / "deep" / name
        file.write_bytes(content)
        assert fingerprint(tmp_path) == fingerprint(tmp_path)
        seen.add(fingerprint(tmp_path))
    assert len(seen) == 3
