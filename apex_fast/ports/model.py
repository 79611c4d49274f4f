"""A language model that answers with JSON."""

from typing import Literal, Protocol

import msgspec


class ModelRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a model is asked. ``schema``: JSON Schema (draft 2020-12) of the answer, an object; ``strict``: every object
    in it is closed and requires all its members.
    """

    system: str
    prompt: str
    schema: dict[str, object]
    schema_name: str
    strict: bool = True
    model: str = ""
    """Another model of the same provider; empty: the one that the adapter was built with."""


class ModelAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """``text``: the JSON object that the model wrote, UTF-8. Tokens as the provider counts them, 0 if it does not."""

    text: bytes
    tokens_in: int = 0
    tokens_out: int = 0


ModelFault = Literal["RATE_LIMITED", "TIMEOUT", "UNAVAILABLE", "REFUSED", "BAD_ANSWER"]


class ModelError(Exception):
    """The model gave no answer. ``retryable``: the same request may succeed later, after ``retry_after_s``."""

    def __init__(self, fault: ModelFault, message: str, *, retryable: bool, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.fault: ModelFault = fault
        self.message = message
        self.retryable = retryable
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return f"{self.fault}: {self.message}"


class Model(Protocol):
    """Asked when no template serves a goal.

    Promises, each a test of ``tests/integration/model``:

    1. One call asks the provider once; retries are the caller's.
    2. It ends within the time limit that the adapter was built with: an answer, or ``ModelError`` TIMEOUT.
    3. An answer is one JSON object. Anything else (no JSON, a list, cut off at the token limit, empty) is
       ``ModelError`` BAD_ANSWER. Whether it fits the schema is the caller's to check.
    4. 429 is RATE_LIMITED with the provider's ``Retry-After``; 5xx and a lost connection are UNAVAILABLE; both are
       retryable. Any other refusal (bad key, unknown model, bad request) is REFUSED and is not.
    5. No key stands in an error, a ``repr`` or a log line.
    """

    @property
    def name(self) -> str:
        """The model, as the settings name it."""

    async def answer(self, request: ModelRequest) -> ModelAnswer:
        """Ask once. Raises ModelError."""
