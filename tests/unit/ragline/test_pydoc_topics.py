from ragline.pydoc_topics import clean, topics


def text_of(raw: str) -> str:
    return next(iter(clean({"topic": raw}))).text


def test_underlines_emphasis_and_wrapping_go() -> None:
    raw = (
        'The "yield" statement\n*********************\n\n'
        "Yield expressions and statements are only used when defining a\n*generator* function.\n\n**Note:** more.\n"
    )
    topic = next(iter(clean({"yield": raw})))
    assert topic.title == 'The "yield" statement'
    assert topic.text == (
        'The "yield" statement\n\n'
        "Yield expressions and statements are only used when defining a generator function.\n\nNote: more.\n"
    )


def test_a_word_broken_after_its_hyphen_is_one_again() -> None:
    raw = "mapping type, the dictionary.  (For other containers see the old built-\nin classes.)"
    assert text_of(raw) == "mapping type, the dictionary.  (For other containers see the old built-in classes.)\n"


def test_lines_that_ended_on_purpose_stay() -> None:
    raw = "class dict(**kwargs)\nclass dict(mapping, **kwargs)"
    assert text_of(raw) == raw + "\n"


def test_code_and_tables_stay() -> None:
    raw = "   def f(*args, **kwargs):\n       return x ** 2\n\n+---+---+\n| a | b |\n|===|===|\n| c | d |\n+---+---+"
    assert text_of(raw) == "   def f(*args, **kwargs):\n       return x ** 2\n\n| a | b |\n| c | d |\n"


def test_a_paragraph_stays_in_the_shortest_topic_that_has_it() -> None:
    raw = {"else": "If.", "if": "If.", "compound": "Compound.\n\nIf.\n\nMatch."}
    assert {topic.name: topic.text for topic in clean(raw)} == {"compound": "Compound.\n\nMatch.\n", "if": "If.\n"}


def test_this_python_has_about_eighty_topics() -> None:
    found = {topic.name: topic for topic in topics()}
    assert 70 <= len(found) <= 90
    assert list(found) == sorted(found)
    assert found["yield"].title == 'The "yield" statement'
    assert "generator function" in found["yield"].text
    assert all(topic.text.strip() and topic.title for topic in found.values())
