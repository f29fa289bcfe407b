"""Counts a prompt's tokens as the engine's model will read them, without the engine."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn, Protocol, Self

import jinja2
import orjson
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer as FastTokenizer

from schemas.values import ChatMessage

_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
_SPECIAL = ("bos_token", "eos_token", "unk_token", "pad_token")


class Tokenizer(Protocol):
    """A chat model's tokenizer. Both methods are pure computation and may take milliseconds."""

    def count(self, messages: Sequence[ChatMessage]) -> int:
        """Tokens of the prompt that these messages make, chat template and the opening of the answer included."""
        ...

    def plain(self, text: str) -> str:
        """The text with everything broken up that the model would read as a mark of the chat's own structure."""
        ...


class ChatTokenizer:
    """The tokenizer of a model folder: ``tokenizer.json`` and the chat template, and no more of the model."""

    def __init__(self, tokenizer: FastTokenizer, template: str, special_tokens: dict[str, str]) -> None:
        self._tokenizer = tokenizer
        self._special_tokens = special_tokens
        self._template = _environment().from_string(template)
        marks = {token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special}
        self._marks = sorted(marks, key=len, reverse=True)

    @classmethod
    def load(cls, path: str) -> Self:
        """Read the folder, or fetch the three files of a hub name.

        Raises:
            ValueError: the model has no tokenizer.json or no chat template.
        """
        folder = Path(path) if Path(path).is_dir() else _fetch(path)
        if not (folder / "tokenizer.json").is_file():
            msg = f"the model at {path} has no tokenizer.json"
            raise ValueError(msg)
        config_file = folder / "tokenizer_config.json"
        config = orjson.loads(config_file.read_bytes()) if config_file.is_file() else {}
        template = _chat_template(folder, config)
        if template is None:
            msg = f"the model at {path} has no chat template, so it cannot be asked with messages"
            raise ValueError(msg)
        special = {name: _content(config[name]) for name in _SPECIAL if config.get(name)}
        return cls(FastTokenizer.from_file(str(folder / "tokenizer.json")), template, special)

    def count(self, messages: Sequence[ChatMessage]) -> int:
        chat = [message.model_dump() for message in messages]
        text = self._template.render(messages=chat, add_generation_prompt=True, **self._special_tokens)
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def plain(self, text: str) -> str:
        for mark in self._marks:
            if mark in text:
                text = text.replace(mark, f"{mark[0]} {mark[1:]}")
        return text


class WordTokenizer:
    """The in-memory twin: a word is a token, and the chat's structure has none."""

    def count(self, messages: Sequence[ChatMessage]) -> int:
        return sum(len(message.content.split()) for message in messages)

    def plain(self, text: str) -> str:
        return text


def _fetch(name: str) -> Path:
    from huggingface_hub import snapshot_download  # noqa: PLC0415 - only for a model that is not in a folder

    return Path(snapshot_download(name, allow_patterns=list(_FILES)))


def _chat_template(folder: Path, config: dict[str, Any]) -> str | None:
    """The template's own file comes first, as in transformers; a list of named ones has a ``default``."""
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    template = config.get("chat_template")
    if isinstance(template, list):
        template = {named["name"]: named["template"] for named in template}.get("default")
    return template


def _content(token: Any) -> str:
    return str(token["content"]) if isinstance(token, dict) else str(token)


def _environment() -> ImmutableSandboxedEnvironment:
    """What a chat template may use, as transformers offers it."""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    return environment


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _strftime_now(pattern: str) -> str:
    return datetime.now().astimezone().strftime(pattern)
