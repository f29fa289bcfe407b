"""What an embedding model reads before a text: as set, else as the model says."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from backends.embedder import EmbedderSettings
from backends.embedding_prompts import with_own_prompts
from backends.errors import BackendRejectedError


def prompts(folder: Path, config: object = None, **set_: str) -> tuple[str | None, str | None]:
    if config is not None:
        (folder / "config_sentence_transformers.json").write_bytes(
            config if isinstance(config, bytes) else orjson.dumps(config)
        )
    settings = with_own_prompts(EmbedderSettings.model_validate({"path": str(folder)} | set_))
    return settings.query_prompt, settings.passage_prompt


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (None, ("", "")),
        ({"__version__": {}}, ("", "")),
        ({"prompts": {}, "default_prompt_name": None}, ("", "")),
        ({"prompts": {"query": "query: ", "passage": "passage: "}}, ("query: ", "passage: ")),
        ({"prompts": {"query": "Find: ", "document": ""}}, ("Find: ", "")),
        ({"prompts": {"document": "", "corpus": "text: ", "other": "x"}}, ("", "text: ")),
        ({"prompts": {"document": "d: ", "passage": "p: "}}, ("", "d: ")),
    ],
)
def test_a_model_says_its_own_prompts_by_name(tmp_path: Path, config: Any, expected: tuple[str, str]) -> None:
    assert prompts(tmp_path, config) == expected


def test_what_is_set_holds_and_may_be_nothing(tmp_path: Path) -> None:
    config = {"prompts": {"query": "query: ", "passage": "passage: "}}
    assert prompts(tmp_path, config, query_prompt="ask: ") == ("ask: ", "passage: ")
    assert prompts(tmp_path, config, query_prompt="", passage_prompt="") == ("", "")


def test_with_both_set_the_model_need_not_be_there(tmp_path: Path) -> None:
    assert prompts(tmp_path / "nowhere", query_prompt="q", passage_prompt="p") == ("q", "p")


@pytest.mark.parametrize("config", [b"{", b"[]", b'{"prompts": "query: "}'])
def test_a_file_that_cannot_be_read_is_refused_in_a_sentence(tmp_path: Path, config: bytes) -> None:
    with pytest.raises(BackendRejectedError, match=r"no model at .* whose prompts can be read \(setting embedder\.path"):
        prompts(tmp_path, config)


def test_a_model_that_is_not_there_is_refused_in_a_sentence() -> None:
    with pytest.raises(BackendRejectedError, match="no model at '/nowhere/at/all'"):
        with_own_prompts(EmbedderSettings(path="/nowhere/at/all"))
