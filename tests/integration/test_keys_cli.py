"""``ragline keys`` on a real broker."""

import asyncio

import orjson
import pytest
from typer.testing import CliRunner

from bridge.keys import digest, looks_like_key
from ragline.cli import app
from ragline.settings import load
from topics.admin import apply_topics
from topics.specs import API_KEYS


@pytest.fixture
def environment(kafka_bootstrap: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGLINE_KAFKA__BOOTSTRAP_SERVERS", kafka_bootstrap)
    monkeypatch.setenv("RAGLINE_NAMESPACE", "test-keys-cli")


@pytest.mark.servers
@pytest.mark.usefixtures("environment")
def test_a_key_from_its_making_to_its_end() -> None:
    runner = CliRunner()
    missing = runner.invoke(app, ["keys", "list"])
    assert missing.exit_code == 1
    assert "create the topics with: ragline topics apply" in missing.output
    settings = load()
    asyncio.run(apply_topics(settings.kafka, settings.topics, settings.names, specs=[API_KEYS]))

    made = runner.invoke(app, ["keys", "create", "search page", "--scope", "ask", "--scope", "ingest", "--days", "7"])
    assert made.exit_code == 0, made.output
    key = made.stdout.strip()
    assert looks_like_key(key)
    key_id = key.split("_")[1]
    assert "it is shown this once" in made.stderr
    assert "bridge.access.required" in made.stderr

    listed = runner.invoke(app, ["keys", "list"]).stdout
    assert key_id in listed
    assert "search page" in listed
    assert key not in listed
    [described] = map(orjson.loads, runner.invoke(app, ["keys", "list", "--json"]).stdout.splitlines())
    assert (described["tenant"], described["scopes"]) == ("default", ["ask", "ingest"])
    assert digest(key) not in str(described)

    assert runner.invoke(app, ["keys", "revoke", key_id]).exit_code == 0
    assert runner.invoke(app, ["keys", "list"]).stdout == "no keys\n"
    again = runner.invoke(app, ["keys", "revoke", key_id])
    assert again.exit_code == 1
    assert f"there is no valid key {key_id}" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["create", "x", "--scope", "all"], "--scope takes ask, ingest, admin, not 'all'"),
        (["create", "x", "--tenant", "nobody"], "tenant 'nobody' is not known; known are default"),
        (["create", ""], "the label may have 1 to 100 characters"),
        (["create", "x", "--days", "0"], "Invalid value"),
    ],
)
def test_a_mistake_is_refused_in_one_sentence(arguments: list[str], sentence: str) -> None:
    result = CliRunner().invoke(app, ["keys", *arguments])
    assert result.exit_code == 2
    assert sentence in result.output
    assert "Traceback" not in result.output
