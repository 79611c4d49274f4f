"""Logs: a line is one JSON object, whatever is in it."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from apex_fast.telemetry import logs


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    target = io.StringIO()
    logs.configure("info", target)
    yield target
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_line_is_one_object(stream: io.StringIO) -> None:
    log = logging.getLogger("apex_fast.test")
    log.debug("unseen")
    log.info("a line\nwith a break", extra={"address": "127.0.0.1:1", "odd": object()})
    try:
        raise ValueError("x")
    except ValueError:
        log.exception("failed")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["level"] for line in lines] == ["info", "error"]
    assert lines[0]["message"] == "a line\nwith a break"
    assert lines[0]["address"] == "127.0.0.1:1"
    assert "ValueError: x" in lines[1]["exception"]
