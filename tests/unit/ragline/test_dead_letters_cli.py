import pytest
from typer.testing import CliRunner

from ragline.dead_letters_cli import app


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["redrive"], "say which dead letters: give a filter, or --all for every open one"),
        (["drop"], "say which dead letters: give a filter, or --all for every open one"),
        (["drop", "--topic", "rag.nothing"], "topic 'rag.nothing' has no dead letters"),
        (["redrive", "--since", "yesterday"], "'yesterday' is no time"),
        (["redrive", "--all", "--rate", "0"], "--rate must be greater than 0"),
        (["list", "--state", "closed"], "--state takes open, redriven, dropped, not 'closed'"),
        (["list", "--limit", "0"], "Invalid value"),
    ],
)
def test_a_mistake_is_refused_in_one_sentence(arguments: list[str], sentence: str) -> None:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert sentence in result.output
    assert "Traceback" not in result.output
