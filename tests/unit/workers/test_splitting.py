"""Cutting text: nothing is lost, no chunk is too long, and offsets are true."""

import itertools
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from workers.splitting import SECTION_CHARS, Splitter, load_splitter, sections

MAX_TOKENS = 12
MARKDOWN = "# One\n\nFirst text.\n\n## Two\n\nSecond text, `code` and more.\n\n* a\n* b\n\n# Three\n\nThird."


def tokenizer() -> Tokenizer:
    """Like BERT: a word of over 20 characters, or with unknown ones, is one unknown token; others go by the letter."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,;:!?#*`-_()"
    vocabulary = {"[UNK]": 0}
    for piece in itertools.chain(letters, (f"##{letter}" for letter in letters)):
        vocabulary[piece] = len(vocabulary)
    made = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=20))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    # As in the files of real models.
    made.enable_truncation(8)
    made.enable_padding(length=8)
    return made


COUNTER = tokenizer()
COUNTER.no_truncation()
COUNTER.no_padding()
SPLITTER = Splitter(tokenizer(), MAX_TOKENS, 4)

texts = st.one_of(
    st.text(max_size=300),
    st.lists(
        st.sampled_from(["word", "x", "sentence.", "\n", "\n\n", " ", "# ", "* ", "`", "ü", "😀", "y" * 50]),
        max_size=120,
    ).map(" ".join),
)


@given(texts, st.booleans())
def test_chunks_hold_all_of_the_text_within_the_limit(text: str, markdown: bool) -> None:  # noqa: FBT001 - hypothesis
    pieces = SPLITTER.split(text, markdown=markdown)
    held = set()
    for piece in pieces:
        assert piece.text == text[piece.start : piece.end]
        assert piece.text.strip()
        assert len(COUNTER.encode(piece.text, add_special_tokens=False).ids) <= MAX_TOKENS
        held.update(range(piece.start, piece.end))
    assert [(piece.start, piece.end) for piece in pieces] == sorted((piece.start, piece.end) for piece in pieces)
    assert not [at for at, letter in enumerate(text) if not letter.isspace() and at not in held]
    assert pieces == SPLITTER.split(text, markdown=markdown)


@given(st.text(alphabet="ab \n", max_size=200), st.integers(1, 40))
def test_sections_are_neighbours_of_bounded_length(text: str, max_chars: int) -> None:
    ranges = list(sections(text, max_chars))
    assert all(0 < end - start <= max_chars for start, end in ranges)
    assert "".join(text[start:end] for start, end in ranges) == text


def test_sections_end_at_the_best_boundary() -> None:
    text = "a" * 60 + "\n\n" + "b" * 20 + " " + "c" * 60
    assert list(sections(text, 100)) == [(0, 60), (60, len(text))]


def test_chunks_overlap() -> None:
    text = " ".join("abcdefghijklmnopqrstuvwxyz")
    pieces = SPLITTER.split(text)
    assert all(later.start < former.end for former, later in itertools.pairwise(pieces))


def test_markdown_is_cut_at_headings() -> None:
    heads = [piece.text.splitlines()[0] for piece in Splitter(tokenizer(), 40, 0).split(MARKDOWN, markdown=True)]
    assert heads == ["# One", "## Two", "# Three"]


@pytest.mark.parametrize("text", ["x" * 100_000, "a" + " " * 100_000 + "b", "😀" * 50_000, "a\n" * 50_000])
def test_no_text_makes_a_chunk_too_long_to_store(text: str) -> None:
    assert all(len(piece.text) <= SECTION_CHARS for piece in SPLITTER.split(text))


def test_a_model_without_tokenizer_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no tokenizer at .*embedder\.path"):
        load_splitter(tmp_path, 100, 0)


def test_chunks_longer_than_the_model_reads_are_refused_in_a_sentence(tmp_path: Path) -> None:
    tokenizer().save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "sentence_bert_config.json").write_bytes(orjson.dumps({"max_seq_length": 102}))
    load_splitter(tmp_path, 90, 0, 10)
    with pytest.raises(ValueError, match=r"chunking\.max_tokens is 90 and chunking\.context_tokens 11, .* 100 tokens"):
        load_splitter(tmp_path, 90, 0, 11)


def test_a_prompt_takes_of_what_the_model_reads(tmp_path: Path) -> None:
    tokenizer().save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "sentence_bert_config.json").write_bytes(orjson.dumps({"max_seq_length": 102}))
    load_splitter(tmp_path, 90, 0, 7, "abc")
    with pytest.raises(ValueError, match=r"100 tokens at most after embedder\.passage_prompt, which takes 3"):
        load_splitter(tmp_path, 90, 0, 8, "abc")


@given(texts, st.integers(0, 20))
def test_what_is_cut_is_a_beginning_within_the_limit(text: str, max_tokens: int) -> None:
    beginning = SPLITTER.cut(text, max_tokens)
    assert text.startswith(beginning)
    assert len(COUNTER.encode(beginning, add_special_tokens=False).ids) <= max_tokens
    if len(COUNTER.encode(text, add_special_tokens=False).ids) <= max_tokens:
        assert beginning == text
