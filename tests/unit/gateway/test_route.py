"""The table of routes: what is found, what is not."""

import pytest

from apex_fast.errors import InvalidInput
from apex_fast.gateway.http.exchange import Exchange
from apex_fast.gateway.http.route import Route, Router, allowed, params_of


def nothing(_exchange: Exchange) -> None:
    """A handler."""


def row(method: str, pattern: str) -> Route:
    return Route(method, pattern, "op", "", "g", nothing)


ROUTER = Router(
    [row("GET", "/runs"), row("POST", "/runs"), row("GET", "/runs/{id}"), row("GET", "/runs/{id}/events"),
     row("POST", "/d/validate"), row("PUT", "/d/{name}/{version}"), row("PUT", "/d/{name}/tags/{tag}")]
)  # fmt: skip


@pytest.mark.parametrize(
    ("path", "pattern", "params"),
    [
        ("/runs", "/runs", {}),
        ("/runs/a%2Fb", "/runs/{id}", {"id": "a/b"}),
        ("/runs/x/events", "/runs/{id}/events", {"id": "x"}),
        ("/d/n/1.0", "/d/{name}/{version}", {"name": "n", "version": "1.0"}),
        ("/d/n/tags/main", "/d/{name}/tags/{tag}", {"name": "n", "tag": "main"}),
        ("/runs/%C3%A9", "/runs/{id}", {"id": "é"}),
    ],
)
def test_found(path: str, pattern: str, params: dict[str, str]) -> None:
    rows = ROUTER.find(path)
    assert rows is not None
    route = next(iter(rows.values()))
    assert route.pattern == pattern
    assert params_of(route, path) == params


@pytest.mark.parametrize("path", ["", "/", "/runs/", "/run", "/runs/a/b", "/d/n", "//", "/runs//events", "runs"])
def test_not_found(path: str) -> None:
    assert ROUTER.find(path) is None


def test_a_path_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(InvalidInput):
        params_of(row("GET", "/runs/{id}"), "/runs/%ff")


def test_allow_names_head_and_options() -> None:
    rows = ROUTER.find("/runs")
    assert rows is not None
    assert allowed(rows) == "GET, HEAD, OPTIONS, POST"


def test_a_row_stands_once() -> None:
    with pytest.raises(ValueError, match="twice"):
        Router([row("GET", "/a"), row("GET", "/a")])
