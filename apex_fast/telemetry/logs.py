"""Logs: one JSON object a line on stderr, or short lines for a person on a terminal.

A line holds what the code says and the fields given by ``extra``; never values of users, never secrets.
"""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import TextIO

_OWN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_COLOURS = {"WARNING": "\x1b[33m", "ERROR": "\x1b[31m", "CRITICAL": "\x1b[31;1m"}


def _extra(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in record.__dict__.items() if name not in _OWN}


class JsonLines(logging.Formatter):
    """A record as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """One line without a line break in it."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_extra(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class TerminalLines(logging.Formatter):
    """A record for a person."""

    def format(self, record: logging.LogRecord) -> str:
        """Time, level, message, then the fields."""
        colour = _COLOURS.get(record.levelname, "")
        moment = datetime.fromtimestamp(record.created, UTC).astimezone().strftime("%H:%M:%S.%f")[:-3]
        fields = "".join(f" {name}={value}" for name, value in _extra(record).items())
        text = f"{moment} {colour}{record.levelname.lower():8}{'' if not colour else chr(27) + '[0m'}"
        text += f" {record.getMessage()}{fields}"
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


def configure(level: str = "info", stream: TextIO | None = None) -> None:
    """Send the logs of this process to ``stream`` (stderr), from ``level`` on. Called once, by the command."""
    target = sys.stderr if stream is None else stream
    handler = logging.StreamHandler(target)
    handler.setFormatter(TerminalLines() if target.isatty() else JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
