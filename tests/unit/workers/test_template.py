import hashlib
from pathlib import Path

import jinja2
import pytest

from schemas.values import Passage, Source
from workers.template import TEMPLATES_PATH, TemplateError, load_templates

SOURCES = [
    Source(
        number=number,
        passage=Passage(
            chunk_id=f"c{number}",
            document_id="d",
            title=f"Title {number}",
            text=f"Text <b>{number}</b> {{{{ 7 * 7 }}}}.",
            source="",
            ordinal=0,
            score=1.0,
        ),
    )
    for number in (1, 2)
]
USER = "{% block user %}{{ question }}{% endblock %}"


def write(folder: Path, text: str, name: str = "mine") -> Path:
    (folder / f"{name}.j2").write_text(text)
    return folder


def test_the_default_template_numbers_passages_and_asks_last() -> None:
    template = load_templates()["default"]
    system, user = template.render("Why?", SOURCES)
    assert (system.role, user.role) == ("system", "user")
    assert user.content.index("[1] Title 1: Text <b>1</b>") < user.content.index("[2] Title 2: ")
    assert user.content.endswith("Question: Why?")


def test_text_is_not_a_template() -> None:
    _, user = load_templates()["default"].render("{{ 7 * 7 }}", SOURCES)
    assert "49" not in user.content


def test_the_hash_is_that_of_the_file() -> None:
    expected = hashlib.sha256((TEMPLATES_PATH / "default.j2").read_bytes()).hexdigest()
    assert load_templates()["default"].hash == expected


def test_an_empty_system_block_makes_no_message(tmp_path: Path) -> None:
    templates = load_templates(write(tmp_path, "{% block system %} {% endblock %}" + USER))
    assert [message.role for message in templates["mine"].render("Why?", SOURCES)] == ["user"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (USER, "no block named system"),
        ("{{ question }}", "no block named system or user"),
        ("{% block system %}{{ questoin }}{% endblock %}" + USER, "'questoin' is undefined"),
        ("{% block system %}{% endblock %}{% block user %}no question{% endblock %}", "does not ask the question"),
        ("{% block system %}{% endblock %}" + USER + "{% if %}", "Expected an expression"),
        ("{% block system %}{{ ''.__class__.__mro__ }}{% endblock %}" + USER, "unsafe"),
        ("{% block system %}{{ passages.append(1) }}{% endblock %}" + USER, "unsafe|not safely callable"),
    ],
)
def test_a_template_that_cannot_be_used_is_refused_with_the_reason(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(TemplateError, match=reason) as refused:
        load_templates(write(tmp_path, text))
    assert "mine.j2" in str(refused.value)


def test_a_folder_without_templates_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match="no prompt template"):
        load_templates(tmp_path)


def test_a_template_can_fail_on_what_it_has_not_been_tried_with(tmp_path: Path) -> None:
    text = "{% block system %}{{ passages[0].title }}{% endblock %}" + USER
    template = load_templates(write(tmp_path, text))["mine"]
    with pytest.raises(jinja2.UndefinedError):
        template.render("Why?", [])


def test_a_template_may_say_its_version(tmp_path: Path) -> None:
    assert load_templates()["default"].version == "1"
    text = "{% block system %}{% endblock %}{% block user %}{{ question }}{% endblock %}"
    (tmp_path / "plain.j2").write_text(text)
    (tmp_path / "numbered.j2").write_text("{#- version: 2026-03.b -#}\n" + text)
    templates = load_templates(tmp_path)
    assert (templates["plain"].version, templates["numbered"].version) == (None, "2026-03.b")
    assert templates["numbered"].render("Why?", ()) == templates["plain"].render("Why?", ())
