import numpy as np
import pytest

from bench.embed import summary
from bench.embed_options import VARIANTS, Texts
from bench.embed_quality import _ranked


def test_the_best_backend_is_the_fastest_that_loses_little() -> None:
    figures = {
        "speedup_torch": 0.98,
        "speedup_openvino_bfloat16": 3.0,
        "speedup_onnx_int8": 4.0,
        "ndcg10_loss_torch": 0.0,
        "ndcg10_loss_openvino_bfloat16": 0.001,
        "ndcg10_loss_onnx_int8": 0.02,
    }
    assert summary(figures, ["torch", "openvino_bfloat16", "onnx_int8"]) == {
        "worker_ratio": 0.98,
        "best_backend": "openvino_bfloat16",
        "best_backend_speedup": 3.0,
        "ndcg10_loss": 0.001,
    }


def test_without_quality_there_is_no_loss_to_name() -> None:
    assert summary({"speedup_onnx": 2.0}, ["onnx"]) == {"best_backend": "onnx", "best_backend_speedup": 2.0}
    assert summary({"ndcg10_loss_torch": 0.0}, ["torch"]) == {}


def test_documents_are_ranked_by_their_scores() -> None:
    scores = np.array([[0.1, 0.9, 0.5], [0.3, 0.2, 0.3]], dtype=np.float32)
    ranked = _ranked(scores, ["q1", "q2"], ["a", "b", "c"])
    assert list(ranked["q1"]) == ["b", "c", "a"]
    assert list(ranked["q2"]) == ["a", "c", "b"]
    assert ranked["q1"]["b"] == pytest.approx(0.9)


def test_both_sides_read_the_same_texts() -> None:
    texts = Texts(["q"], [("title", "text"), ("", "text")])
    assert texts.of("questions") == ["q"]
    assert texts.of("chunks") == ["title\n\ntext", "text"]


def test_variants_are_named_by_backend_and_precision() -> None:
    assert list(VARIANTS) == ["torch", "torch_bfloat16", "onnx", "onnx_int8", "openvino", "openvino_bfloat16"]
