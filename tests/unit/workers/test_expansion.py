"""What the engine is asked before a search, and what of its answers is searched for."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.events import ExpansionPromptBuilt, QueryAccepted
from schemas.values import QueryOptions, RetrievalOptions, Sampling
from workers.expansion import Written, expansion_prompt, needs_expansion, usable_texts

QUESTION = "What does the yield expression do?"
PASSAGE = "A yield expression hands a value to whoever iterates over the generator."


def query(**retrieval: Any) -> QueryAccepted:
    options = RetrievalOptions.model_validate({"mode": "hybrid", "expansion": "multi_query", "variants": 3} | retrieval)
    return QueryAccepted(
        request_id="r",
        tenant="t",
        question=QUESTION,
        lane="interactive",
        asked_at=datetime(2026, 1, 1, tzinfo=UTC),
        deadline_at=None,
        options=QueryOptions(
            model="m", top_k=3, min_score=0, template="t", sampling=Sampling(max_tokens=7), retrieval=options
        ),
    )


def prompt(**retrieval: Any) -> ExpansionPromptBuilt:
    return expansion_prompt(query(**retrieval), QUESTION, 99)


def texts(*answers: str, cut: bool = False, **retrieval: Any) -> tuple[str, ...]:
    return usable_texts(prompt(**retrieval), [Written(answer, cut) for answer in answers])


@pytest.mark.parametrize(
    ("expansion", "mode", "needed"),
    [
        ("none", "hybrid", False),
        ("multi_query", "sparse", True),
        ("multi_query", "dense", True),
        ("hyde", "dense", True),
        ("hyde", "hybrid", True),
        ("hyde", "sparse", False),
    ],
)
def test_the_engine_is_asked_where_the_search_has_use_for_it(expansion: Any, mode: Any, needed: bool) -> None:  # noqa: FBT001 - a case
    assert needs_expansion(RetrievalOptions(mode=mode, expansion=expansion, variants=2)) is needed


def test_other_wordings_are_asked_for_at_once() -> None:
    built = prompt()
    (message,) = built.messages
    assert message.role == "user"
    assert "3 other ways" in message.content
    assert message.content.endswith(f"Question: {QUESTION}")
    assert built.samplings == (Sampling(max_tokens=99),)


def test_passages_are_asked_for_one_by_one_the_likeliest_first() -> None:
    first, *others = prompt(expansion="hyde").samplings
    assert first == Sampling(max_tokens=99)
    assert [sampling.seed for sampling in others] == [1, 2]
    assert all(sampling.temperature > 0 for sampling in others)
    assert prompt(expansion="hyde") == prompt(expansion="hyde")


def test_the_model_reads_the_question_as_it_may() -> None:
    (message,) = expansion_prompt(query(), "plain", 99).messages
    assert message.content.endswith("Question: plain")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("How does yield work?\nWhat is yield for?", ("How does yield work?", "What is yield for?")),
        ("1. How?\n2) What?\n(3) Why?\n- Where?", ("How?", "What?", "Why?")),
        ('Here are three questions:\n\n* "How does it work?"\n**What for?**', ("How does it work?", "What for?")),
        ("How?\nhow?\n HOW? ", ("How?",)),
        (f"{QUESTION}\n{QUESTION.upper()}\nQuestion: {QUESTION}\nWhy?", ("Why?",)),
        ("", ()),
        ("\n \n...\n42\n", ()),
        ("a\x00b\nbad \ufffd\nWhy?", ("Why?",)),
        ("x" * 401, ()),
        ("the question is what the question is what the question is what the question is", ()),
        ("是什么意思\nWas macht yield?", ("是什么意思", "Was macht yield?")),
    ],
)
def test_what_is_another_wording(answer: str, expected: tuple[str, ...]) -> None:
    assert texts(answer) == expected


def test_a_wording_that_was_cut_is_left_out() -> None:
    assert texts("How does yield work?\nWhat is the differ", cut=True) == ("How does yield work?",)


@pytest.mark.parametrize("expansion", ["multi_query", "hyde"])
def test_a_model_that_repeats_its_prompt_has_said_nothing(expansion: str) -> None:
    (message,) = prompt(expansion=expansion).messages
    assert texts(message.content, expansion=expansion) == ()
    assert texts(QUESTION, expansion=expansion) == ()


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ((f"  {PASSAGE}\n\n",), (PASSAGE,)),
        ((PASSAGE, PASSAGE, f"{PASSAGE} It pauses there."), (PASSAGE, f"{PASSAGE} It pauses there.")),
        (("I do not know.",), ()),
        (("yield yield yield yield " * 9,), ()),
        (("1234567890 1234567890 1234567890",), ()),
    ],
)
def test_what_is_a_passage(answers: tuple[str, ...], expected: tuple[str, ...]) -> None:
    assert texts(*answers, expansion="hyde") == expected


def test_a_passage_may_be_cut() -> None:
    assert texts(PASSAGE, cut=True, expansion="hyde") == (PASSAGE,)


@given(
    st.lists(st.builds(Written, st.text(max_size=300), st.booleans()), max_size=4),
    st.sampled_from(["multi_query", "hyde"]),
)
def test_whatever_a_model_writes_what_is_searched_for_is_text_and_no_more_than_wanted(
    answers: list[Written], expansion: str
) -> None:
    found = usable_texts(prompt(expansion=expansion), answers)
    assert len(found) <= 3
    assert len({text.casefold() for text in found}) == len(found)
    assert all(text.strip() == text and any(map(str.isalpha, text)) for text in found)
    assert QUESTION not in found
