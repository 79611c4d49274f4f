"""The model port: chat completion with structured output.

The only file that names litellm. It is imported when a model is switched on and not before: importing litellm takes
seconds and 170 MB of memory (measured on a busy 2-core machine).
"""

import asyncio
import os
from pathlib import Path
from typing import Any

import msgspec

# Read at import: the table of prices comes with the package instead of from the network.
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

import litellm
from litellm.exceptions import Timeout

from apex_fast.ports.model import ModelAnswer, ModelError, ModelRequest

litellm.telemetry = False
litellm.suppress_debug_info = True
# Never the request or the key in a log line of the library.
litellm.turn_off_message_logging = True

_MESSAGE_CHARS_MAX = 300


def read_key(path: Path) -> str:
    """The key in a file, without white space. Raises OSError."""
    return path.read_text(encoding="utf-8").strip()


class LitellmModel:
    """Keeps the promises of ``ports.model.Model``."""

    def __init__(
        self,
        name: str,
        *,
        api_key: str = "",
        api_base: str = "",
        timeout_s: float = 30.0,
        tokens_max: int = 2048,
    ) -> None:
        """``name`` as litellm spells it, ``openai/gpt-5-mini``; an empty key or base is left to the provider's own."""
        self._name = name
        self._timeout_s = timeout_s
        self._tokens_max = tokens_max
        self._reach: dict[str, str] = {}
        if api_key:
            self._reach["api_key"] = api_key
        if api_base:
            self._reach["api_base"] = api_base

    def __repr__(self) -> str:
        return f"LitellmModel({self._name!r})"

    @property
    def name(self) -> str:
        return self._name

    async def answer(self, request: ModelRequest) -> ModelAnswer:
        try:
            async with asyncio.timeout(self._timeout_s):
                reply = await litellm.acompletion(
                    model=request.model or self._name,
                    messages=[
                        {"role": "system", "content": request.system},
                        {"role": "user", "content": request.prompt},
                    ],
                    response_format={
                        "type": "json_schema",
                        "json_schema": {
                            "name": request.schema_name,
                            "schema": request.schema,
                            "strict": request.strict,
                        },
                    },
                    max_tokens=self._tokens_max,
                    timeout=self._timeout_s,
                    num_retries=0,
                    max_retries=0,
                    drop_params=True,
                    **self._reach,
                )
        except (TimeoutError, Timeout):
            raise ModelError("TIMEOUT", f"no answer within {self._timeout_s:g} s", retryable=True) from None
        except Exception as error:
            raise self._fault(error) from None
        return _answer(reply)

    def _fault(self, error: Exception) -> ModelError:
        # The library's text may quote what the provider echoed: bounded, and without the key.
        said = f"{type(error).__name__}: {error}".replace(self._reach.get("api_key") or "\0", "***")
        said = " ".join(said.split())[:_MESSAGE_CHARS_MAX]
        status = getattr(error, "status_code", None)
        if status == 429:
            return ModelError("RATE_LIMITED", said, retryable=True, retry_after_s=_retry_after_s(error))
        if status == 408:
            return ModelError("TIMEOUT", said, retryable=True)
        if isinstance(status, int) and 400 <= status < 500:
            return ModelError("REFUSED", said, retryable=False)
        is_ours = isinstance(error, TypeError | ValueError | ImportError)
        return ModelError("REFUSED" if is_ours else "UNAVAILABLE", said, retryable=not is_ours)


def _retry_after_s(error: Exception) -> float | None:
    """Seconds of the ``Retry-After`` header (RFC 9110, 10.2.3), where it is a number."""
    headers = getattr(error, "litellm_response_headers", None) or {}
    try:
        return max(0.0, float(headers.get("retry-after", "")))
    except ValueError:
        return None


def _answer(reply: Any) -> ModelAnswer:
    try:
        choice = reply.choices[0]
        content, finish = choice.message.content, choice.finish_reason
    except (AttributeError, IndexError, TypeError):
        raise ModelError("BAD_ANSWER", "the reply holds no choice", retryable=True) from None
    if finish == "length":
        raise ModelError("BAD_ANSWER", "the answer was cut off at the token limit", retryable=True)
    text = (content or "").encode("utf-8", "replace")
    try:
        body = msgspec.json.decode(text)
    except msgspec.DecodeError:
        raise ModelError("BAD_ANSWER", "the answer is no JSON", retryable=True) from None
    if not isinstance(body, dict):
        raise ModelError("BAD_ANSWER", "the answer is no JSON object", retryable=True)
    usage = getattr(reply, "usage", None)
    return ModelAnswer(
        text=text,
        tokens_in=int(getattr(usage, "prompt_tokens", 0) or 0),
        tokens_out=int(getattr(usage, "completion_tokens", 0) or 0),
    )
