"""The examples of the guides run."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from apex_fast import App
from apex_fast.core import compile as compile_definition
from apex_fast.executors.http.guard import Guard
from apex_fast.settings import Settings

DOCS = Path(__file__).parents[3] / "docs"


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("code", blocks("guides/functions.md", "python"), ids=lambda code: code.splitlines()[-1])
def test_functions_in_python(code: str) -> None:
    names: dict[str, object] = {}
    exec(compile(code, "functions.md", "exec"), names)
    app = names["app"]
    assert isinstance(app, App)
    for definition in app.definitions():
        assert compile_definition(definition, app.table()).node_count > 0


def test_the_http_node() -> None:
    [text] = blocks("guides/http-node.md", "json")
    inputs = {"type": "object", "properties": {"id": {}, "note": {}}}
    definition = {"name": "w", "version": "1", "inputs": inputs, "nodes": [json.loads(text)], "edges": []}
    assert compile_definition(json.dumps(definition).encode()).node_count == 1


@pytest.mark.parametrize("page", ["guides/http-node.md", "reference/configuration.md"])
def test_settings_in_toml(page: str, tmp_path: Path) -> None:
    [text] = blocks(page, "toml")
    file = tmp_path / "apex.toml"
    file.write_text(text)
    settings = Settings.load(file, {})
    Guard(settings.http.allow_hosts)
    assert {f"{section}.{key}" for section, table in tomllib.loads(text).items() for key in table} == set(
        settings.origins
    )
