"""One attempt: connect, send, follow redirects, read within limits.

Two pools of connections: one for hosts that `http.allow_hosts` names, one for all others whose every socket is
judged by the address that it is about to connect to. So what a name resolves to a second time, or what an idle
connection of another host is worth, changes nothing.
"""

import asyncio
import codecs
import socket
import zlib
from contextvars import ContextVar
from typing import Final

import aiohttp
import msgspec
from aiohttp.abc import AbstractResolver
from yarl import URL

from apex_fast.core import check_value
from apex_fast.domain import CoreError
from apex_fast.executors.http.failure import (
    BlockedAddress,
    ConnectFailed,
    ConnectionLost,
    HttpFailure,
    InvalidRequest,
    InvalidResponse,
    ResponseTooLarge,
    StatusFailure,
    TooManyRedirects,
)
from apex_fast.executors.http.guard import Guard, refusal_of_address, refusal_of_host
from apex_fast.executors.http.request import Request, read_url
from apex_fast.settings import HttpSettings

REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
CREDENTIALS: Final = frozenset({"authorization", "cookie"})
CHUNK_BYTES: Final = 64 * 1024
SHOWN_CHARS_MAX: Final = 300
# Charsets that a server may name; any other is read as UTF-8 with replacement characters.
CHARSETS: Final = frozenset({"utf-8", "ascii", "iso8859-1", "cp1252", "utf-16", "shift_jis", "gb18030", "euc_jp"})

# Why a socket was refused: the connector may hide the exception among those of other addresses.
_refusals: ContextVar[list[str]] = ContextVar("apex_fast_http_refusals")


def _guarded_socket(info: tuple[int, int, int, str, tuple[object, ...]]) -> socket.socket:
    family, kind, protocol, _, address = info
    refusal = refusal_of_address(str(address[0]))
    if refusal is not None:
        _refusals.get([]).append(refusal)
        raise BlockedAddress(refusal)
    return socket.socket(family=family, type=kind, proto=protocol)


class Exchange:
    """Sends requests. Made and used on one loop. ``resolver``: who turns names into addresses."""

    def __init__(self, settings: HttpSettings, guard: Guard, resolver: AbstractResolver | None = None) -> None:
        self._settings = settings
        self._guard = guard
        self._guarded = self._session(resolver, guarded=True)
        self._allowed = self._session(resolver, guarded=False)

    def _session(self, resolver: AbstractResolver | None, *, guarded: bool) -> aiohttp.ClientSession:
        settings = self._settings
        connector = aiohttp.TCPConnector(
            limit=settings.connections_max,
            limit_per_host=settings.connections_per_host_max,
            resolver=resolver,
            socket_factory=_guarded_socket if guarded else None,
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=settings.connect_timeout_s),
            requote_redirect_url=True,
        )

    async def send(self, request: Request) -> bytes:
        """The node's output, `{status, headers, body}` as JSON. Raises HttpFailure; the caller bounds the time."""
        method, url, headers, body = request.method, request.url, dict(request.headers), request.body
        for _ in range(self._settings.redirects_max + 1):
            async with await self._answer(method, url, headers, body) as response:
                if response.status not in REDIRECTS or response.status in request.expect_status:
                    return await self._read(request, method, url, response)
                target = _target(url, response)
            if response.status == 303 or (response.status in (301, 302) and method == "POST"):
                method, body = ("HEAD" if method == "HEAD" else "GET"), None
                headers = {name: value for name, value in headers.items() if not name.lower().startswith("content-")}
            if target.origin() != url.origin():
                dropped = CREDENTIALS | request.secret_headers
                headers = {name: value for name, value in headers.items() if name.lower() not in dropped}
            url = target
        raise TooManyRedirects(f"{_shown(request.url)} was redirected more than {self._settings.redirects_max} times")

    async def close(self) -> None:
        """Close all connections."""
        await self._guarded.close()
        await self._allowed.close()

    async def _answer(
        self, method: str, url: URL, headers: dict[str, str], body: bytes | None
    ) -> aiohttp.ClientResponse:
        host = url.host or ""
        allowed = self._guard.allows(host, url.port or 0)
        refusal = None if allowed else refusal_of_host(url.raw_host or "")
        if refusal is not None:
            raise BlockedAddress(f"{_shown(url)}: {refusal}; http.allow_hosts may allow it")
        session = self._allowed if allowed else self._guarded
        refusals: list[str] = []
        _refusals.set(refusals)
        try:
            return await session.request(
                method,
                url,
                headers={"Accept": "*/*", "User-Agent": "apex_fast", **headers, "Accept-Encoding": "gzip"},
                data=body,
                allow_redirects=False,
            )
        except BlockedAddress as error:
            raise BlockedAddress(f"{_shown(url)}: {error}; http.allow_hosts may allow it") from None
        except (aiohttp.ClientError, OSError, ValueError, TimeoutError) as error:
            if refusals:
                raise BlockedAddress(f"{_shown(url)}: {refusals[0]}; http.allow_hosts may allow it") from None
            raise _failure(url, error) from None

    async def _read(self, request: Request, method: str, url: URL, response: aiohttp.ClientResponse) -> bytes:
        body = b"" if method == "HEAD" else await self._body(url, response)
        expected = request.expect_status
        if response.status not in expected if expected else not 200 <= response.status < 300:
            raise StatusFailure(response.status, _status_message(method, url, response, body))
        headers: dict[str, str] = {}
        for name, text in response.headers.items():
            key = name.lower()
            value = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
            headers[key] = f"{headers[key]}, {value}" if key in headers else value
        return msgspec.json.encode({"status": response.status, "headers": headers, "body": _value(url, response, body)})

    async def _body(self, url: URL, response: aiohttp.ClientResponse) -> bytes:
        """The body, decompressed. Stops at the limit, so that a small answer cannot unfold into a large one."""
        limit = self._settings.response_bytes_max
        encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in ("identity", "gzip", "x-gzip", ""):
            raise InvalidResponse(f"{_shown(url)} answered in the encoding {encoding[:40]!r}, which was not asked for")
        unzip = zlib.decompressobj(16 + zlib.MAX_WBITS) if "gzip" in encoding else None
        body = bytearray()
        try:
            async for chunk in response.content.iter_chunked(CHUNK_BYTES):
                body += chunk if unzip is None else unzip.decompress(chunk, limit + 1 - len(body))
                if len(body) > limit:
                    raise ResponseTooLarge(f"{_shown(url)} answered more than {limit} bytes (http.response_bytes_max)")
        except zlib.error as error:
            raise InvalidResponse(f"{_shown(url)} answered what is not gzip: {error}") from None
        except (aiohttp.ClientError, OSError) as error:
            raise ConnectionLost(f"{_shown(url)}: {_reason(error)}") from None
        if unzip is not None and body and not unzip.eof:
            raise ConnectionLost(f"{_shown(url)}: the compressed body ends too soon")
        return bytes(body)


def _target(url: URL, response: aiohttp.ClientResponse) -> URL:
    location = response.headers.get("Location")
    if not location:
        raise TooManyRedirects(f"{_shown(url)} answered {response.status} without a Location")
    try:
        return read_url(url.join(URL(location)))
    except (ValueError, InvalidRequest) as error:
        # A place that a node could not have asked for itself is not gone to on its behalf.
        raise BlockedAddress(f"{_shown(url)} redirects to where no request may go: {error}") from None


def _failure(url: URL, error: Exception) -> HttpFailure:
    if isinstance(error, aiohttp.InvalidURL | ValueError):
        return InvalidRequest(f"{_shown(url)}: {_reason(error)}")
    if isinstance(error, aiohttp.ClientResponseError):
        return InvalidResponse(f"{_shown(url)}: {error.message[:SHOWN_CHARS_MAX]}")
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | TimeoutError):
        return ConnectFailed(f"{_shown(url)}: {_reason(error)}")
    return ConnectionLost(f"{_shown(url)}: {_reason(error)}")


def _reason(error: Exception) -> str:
    return (str(error) or type(error).__name__)[:SHOWN_CHARS_MAX]


def _shown(url: URL) -> str:
    """A URL without its query, which may hold what is not to be shown."""
    return str(url.with_query(None))[:SHOWN_CHARS_MAX]


def _status_message(method: str, url: URL, response: aiohttp.ClientResponse, body: bytes) -> str:
    after = response.headers.get("Retry-After", "")[:40]
    said = body[:SHOWN_CHARS_MAX].decode("utf-8", "replace").strip()
    return (
        f"{method} {_shown(url)} answered {response.status} {response.reason or ''}".rstrip()
        + (f" (retry after {after})" if after else "")
        + (f": {said}" if said else "")
    )


def _value(url: URL, response: aiohttp.ClientResponse, body: bytes) -> object:
    """The body as a value: JSON where the content type says so, else text."""
    kind = response.content_type.lower()
    if kind == "application/json" or kind.endswith("+json"):
        if not body:
            return None
        try:
            check_value(body)
        except CoreError as error:
            raise InvalidResponse(f"{_shown(url)} answered what is not a JSON value: {error.message}") from None
        return msgspec.Raw(body)
    charset = "utf-8"
    try:
        named = codecs.lookup(response.charset or "utf-8").name
        charset = named if named in CHARSETS else "utf-8"
    except LookupError:
        pass
    return body.decode(charset, "replace")


async def within(seconds: float, exchange: Exchange, request: Request) -> bytes:
    """`Exchange.send` in a bounded time. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        return await exchange.send(request)
