"""Prompt templates: files NAME.j2 with a block ``system`` and a block ``user``, and a comment ``{# version: 2 #}``."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from schemas.values import ChatMessage, Passage, Source

TEMPLATES_PATH = Path(__file__).parent / "templates"
_VERSION = re.compile(r"\{#-?\s*version:\s*(\S{1,64})\s*-?#\}")
_SAMPLE = Source(
    number=1,
    passage=Passage(
        chunk_id="sample", document_id="sample", title="Title", text="Text.", source="", ordinal=0, score=1.0
    ),
)


class TemplateError(ValueError):
    """A template that cannot be used; the message names the file and says why."""


@dataclass(frozen=True, slots=True)
class PromptTemplate:
    """One template. ``hash`` is the SHA-256 of its file, so that an answer's prompt can be told from others;
    ``version`` what the file calls itself, if it does.
    """

    name: str
    hash: str
    template: jinja2.Template
    version: str | None = None

    def render(self, question: str, sources: Sequence[Source]) -> tuple[ChatMessage, ...]:
        """The messages: ``system``, if the template says anything there, and ``user``.

        A template sees ``question`` and ``passages``, each with ``number``, ``title`` and ``text``.

        Raises:
            jinja2.TemplateError: the template uses something that does not exist or is not allowed.
        """
        passages = [
            {"number": source.number, "title": source.passage.title, "text": source.passage.text} for source in sources
        ]
        context = self.template.new_context({"question": question, "passages": passages})
        system, user = ("".join(self.template.blocks[block](context)).strip() for block in ("system", "user"))
        if not system:
            return (ChatMessage(role="user", content=user),)
        return ChatMessage(role="system", content=system), ChatMessage(role="user", content=user)


def load_templates(folder: Path = TEMPLATES_PATH) -> dict[str, PromptTemplate]:
    """Read and try every template of the folder, by name.

    Raises:
        TemplateError: the folder has no template, or one of them cannot be used.
    """
    files = sorted(folder.glob("*.j2"))
    if not files:
        msg = f"no prompt template (NAME.j2) in {folder}"
        raise TemplateError(msg)
    # The rendered text is a prompt, not HTML, so nothing is escaped.
    environment = ImmutableSandboxedEnvironment(
        undefined=jinja2.StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return {file.stem: _load(environment, file) for file in files}


def _load(environment: jinja2.Environment, file: Path) -> PromptTemplate:
    content = file.read_bytes()
    try:
        text = content.decode("utf-8")
        compiled = environment.from_string(text)
        version = _VERSION.search(text)
        missing = {"system", "user"} - set(compiled.blocks)
        if missing:
            msg = f"{file}: no block named {' or '.join(sorted(missing))}"
            raise TemplateError(msg)
        template = PromptTemplate(file.stem, hashlib.sha256(content).hexdigest(), compiled, version and version[1])
        messages = template.render("Question?", [_SAMPLE])
    except (jinja2.TemplateError, UnicodeDecodeError) as error:
        msg = f"{file}: {error}"
        raise TemplateError(msg) from error
    if "Question?" not in messages[-1].content:
        msg = f"{file}: block user does not ask the question"
        raise TemplateError(msg)
    return template
