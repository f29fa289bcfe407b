"""Cuts text into chunks that an embedding model reads whole. Pure, but for reading the tokenizer's file."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson
from semantic_text_splitter import MarkdownSplitter, TextSplitter
from tokenizers import Tokenizer

# The splitter takes more than linear time, minutes for a megabyte: it gets a text in sections. It also bounds a chunk,
# for a tokenizer counts a word it does not know as one token, however long.
SECTION_CHARS = 8_000
_BOUNDARIES = ("\n\n", "\n", " ")
_MARKDOWN_BOUNDARIES = ("\n# ", "\n## ", "\n### ", *_BOUNDARIES)
# The model puts one before and one after the text.
_SPECIAL_TOKENS = 2


@dataclass(frozen=True, slots=True)
class Piece:
    """``text`` is ``document[start:end]``."""

    text: str
    start: int
    end: int


class Splitter:
    """Cuts at the coarsest boundary that keeps a chunk within ``max_tokens``: headings, paragraphs, sentences, words.

    A chunk begins with up to ``overlap_tokens`` of the one before.
    """

    def __init__(self, tokenizer: Tokenizer, max_tokens: int, overlap_tokens: int) -> None:
        # Many tokenizer files cut or pad to a length, and the count would be of that.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self._plain = TextSplitter.from_huggingface_tokenizer(tokenizer, max_tokens, overlap=overlap_tokens)
        self._markdown = MarkdownSplitter.from_huggingface_tokenizer(tokenizer, max_tokens, overlap=overlap_tokens)

    def split(self, text: str, *, markdown: bool = False) -> list[Piece]:
        """Cut ``text``; together the pieces hold all of it but white space between them."""
        splitter = self._markdown if markdown else self._plain
        return [
            Piece(piece, start + offset, start + offset + len(piece))
            for start, end in sections(text, SECTION_CHARS, _MARKDOWN_BOUNDARIES if markdown else _BOUNDARIES)
            for offset, piece in splitter.chunk_indices(text[start:end])
            if piece.strip()
        ]

    def count(self, text: str) -> int:
        """Tokens of ``text``."""
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def cut(self, text: str, max_tokens: int) -> str:
        """The beginning of ``text`` that is at most ``max_tokens`` long."""
        tokens = self._tokenizer.encode(text[:SECTION_CHARS], add_special_tokens=False)
        if len(tokens.ids) <= max_tokens:
            return text[:SECTION_CHARS]
        return text[: tokens.offsets[max_tokens][0]].rstrip()


def sections(text: str, max_chars: int, boundaries: tuple[str, ...] = _BOUNDARIES) -> Iterator[tuple[int, int]]:
    """Cut into neighbouring ranges of at most ``max_chars`` characters, each at the last of the first boundary that its
    second half has.
    """
    start = 0
    while len(text) - start > max_chars:
        end = start + max_chars
        for boundary in boundaries:
            found = text.rfind(boundary, start + max_chars // 2, end)
            if found > start:
                end = found
                break
        yield start, end
        start = end
    if start < len(text):
        yield start, len(text)


def load_splitter(
    model: Path, max_tokens: int, overlap_tokens: int, context_tokens: int = 0, prompt: str = ""
) -> Splitter:
    """Make a splitter that counts tokens as the embedding model does; ``model`` is its folder or hub name.

    Raises:
        ValueError: there is no tokenizer, or the model reads less than a chunk with its context after ``prompt``.
    """
    try:
        tokenizer = (
            Tokenizer.from_file(str(model / "tokenizer.json"))
            if model.is_dir()
            else Tokenizer.from_pretrained(str(model))
        )
    except Exception as error:  # the library raises nothing more precise
        msg = f"no tokenizer at {str(model)!r} (setting embedder.path): {error}"
        raise ValueError(msg) from error
    splitter = Splitter(tokenizer, max_tokens, overlap_tokens)
    prompt_tokens = splitter.count(prompt)
    limit = _reads_tokens(model)
    if limit is not None and max_tokens + context_tokens + prompt_tokens > limit:
        after = f" after embedder.passage_prompt, which takes {prompt_tokens}" if prompt_tokens else ""
        msg = (
            f"chunking.max_tokens is {max_tokens} and chunking.context_tokens {context_tokens}, but the embedding "
            f"model reads {limit} tokens at most{after}"
        )
        raise ValueError(msg)
    return splitter


def _reads_tokens(model: Path) -> int | None:
    """How many tokens of a text the model reads, where a file of sentence-transformers says so."""
    file = model / "sentence_bert_config.json"
    limit = orjson.loads(file.read_bytes()).get("max_seq_length") if file.is_file() else None
    return int(limit) - _SPECIAL_TOKENS if limit else None
