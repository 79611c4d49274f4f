"""The model port, answered from a file: nobody is asked, nothing leaves the machine.

The file is a JSON list, `[{"asked": "…", "answer": {…}}]`: the first entry whose text stands in what is asked is the
answer. It is read again for each question, so it may change while a gateway runs.
"""

import asyncio
from pathlib import Path
from typing import Any

import msgspec

from apex_fast.ports.model import ModelAnswer, ModelError, ModelRequest


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    asked: str
    answer: dict[str, Any]


_SCRIPT = msgspec.json.Decoder(list[_Entry])


class ScriptedModel:
    """Keeps the promises of ``ports.model.Model``."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __repr__(self) -> str:
        return f"ScriptedModel({str(self._file)!r})"

    @property
    def name(self) -> str:
        """As the settings name it."""
        return f"script:{self._file}"

    async def answer(self, request: ModelRequest) -> ModelAnswer:
        """The answer of the first entry that fits. Raises ModelError (REFUSED)."""
        try:
            entries = _SCRIPT.decode(await asyncio.to_thread(self._file.read_bytes))
        except (OSError, msgspec.DecodeError) as error:
            raise ModelError("REFUSED", f"{self._file}: {error}", retryable=False) from error
        for entry in entries:
            if entry.asked in request.prompt or entry.asked in request.system:
                return ModelAnswer(text=msgspec.json.encode(entry.answer))
        raise ModelError("REFUSED", f"{self._file} has no answer to what is asked", retryable=False)
