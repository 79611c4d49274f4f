"""A real HTTP server on loopback that speaks the OpenAI protocol, with a script of replies."""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


def completion(content: str | None, *, finish: str = "stop", **more: Any) -> web.Response:
    """A chat completion with this content."""
    message = {"role": "assistant", "content": content}
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "test",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
        **more,
    }
    return web.json_response(body)


def refusal(status: int, message: str, **headers: str) -> web.Response:
    """An error as the protocol has it."""
    body = {"error": {"message": message, "type": "error", "code": None}}
    return web.json_response(body, status=status, headers=headers)


@dataclass
class Provider:
    """Replies in turn; ``requests`` holds (headers, body) of what was asked."""

    replies: list[web.Response | float | None] = field(default_factory=list)
    """A number waits for so many seconds before an empty answer; None cuts the connection."""
    requests: list[tuple[dict[str, str], dict[str, Any]]] = field(default_factory=list)
    base: str = ""
    _runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.base = f"http://{host}:{port}/v1"

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        self.requests.append((dict(request.headers), json.loads(await request.read())))
        reply = self.replies.pop(0)
        if reply is None:
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        if isinstance(reply, float):
            await asyncio.sleep(reply)
            return completion("{}")
        return reply
