"""What a node asks for: its rendered JSON, checked before anything is sent.

In: the input of the job, `{method, url, headers, body, expect_status}`. Out: a `Request`, or InvalidRequest.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import msgspec
from yarl import URL

from apex_fast.executors.http.failure import InvalidRequest, MissingSecret

Secrets: TypeAlias = Callable[[str, str], str | None]
"""(tenant, name) to the secret, or None where there is none of this name."""

TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
METHOD: Final = re.compile(r"[A-Z]{1,20}")
# What a URL may not hold in raw form: parsers disagree about it, or it splits a header.
STRANGE: Final = re.compile(r"[\x00-\x20\x7f\\]")
VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\U0010ffff]*")
URL_CHARS_MAX: Final = 8_192
HEADERS_MAX: Final = 64
# Framing is ours; a tunnel or an echo is no request of a node.
OUR_HEADERS: Final = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer", "expect", "keep-alive"}
    | {"proxy-authorization", "proxy-connection", "accept-encoding"}
)
OUR_METHODS: Final = frozenset({"CONNECT", "TRACE"})
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class _Rendered(msgspec.Struct, forbid_unknown_fields=True):
    url: str
    method: str = "GET"
    headers: dict[str, Any] | None = None
    body: msgspec.Raw = msgspec.Raw(b"null")
    expect_status: list[int] | int | None = None


class Request(msgspec.Struct, frozen=True):
    """A request that can be sent."""

    method: str
    url: URL
    headers: dict[str, str]
    """Secrets are in it: never to be shown."""
    secret_headers: frozenset[str]
    """Names, in lower case, of the headers that hold a secret."""
    body: bytes | None
    expect_status: frozenset[int]
    """Empty: 200 to 299."""


def read_request(rendered: bytes, tenant: str, idempotency_key: str, secrets: Secrets) -> Request:
    """Check the request of a node. Raises InvalidRequest, MissingSecret."""
    try:
        asked = msgspec.json.decode(rendered, type=_Rendered)
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"the request is not {{method, url, headers, body, expect_status}}: {error}") from None
    method = asked.method.upper()
    if not METHOD.fullmatch(method) or method in OUR_METHODS:
        raise InvalidRequest(f"{asked.method[:20]!r} is not a method that a node can use")
    headers, secret_headers = _headers(asked.headers or {}, tenant, secrets)
    body = _body(asked.body, headers)
    if method not in SAFE_METHODS and "idempotency-key" not in {name.lower() for name in headers}:
        headers["Idempotency-Key"] = f'"{idempotency_key}"'
    expect = asked.expect_status
    statuses = [] if expect is None else [expect] if isinstance(expect, int) else expect
    return Request(method, read_url(asked.url), headers, secret_headers, body, frozenset(statuses))


def read_url(text: str | URL) -> URL:
    """A URL that means the same to every parser. Raises InvalidRequest."""
    raw = str(text)
    if len(raw) > URL_CHARS_MAX:
        raise InvalidRequest(f"the URL has {len(raw)} characters; at most {URL_CHARS_MAX}")
    found = STRANGE.search(raw)
    if found:
        raise InvalidRequest(f"the URL holds {found.group()!r}, which must be percent-encoded")
    if not raw.lower().startswith(("http://", "https://")):
        raise InvalidRequest("the URL does not begin with http:// or https://")
    try:
        url = URL(raw).with_fragment(None)
        host, port = url.host, url.port
    except ValueError as error:
        raise InvalidRequest(f"the URL cannot be read: {error}") from None
    if not host or not port:
        raise InvalidRequest("the URL names no host")
    if url.user is not None or url.password is not None or "@" in url.raw_authority:
        raise InvalidRequest("the URL holds a user or password; put it into a header, as a secret")
    if "%" in (url.raw_host or ""):
        raise InvalidRequest("the host of the URL is percent-encoded")
    return url


def _headers(asked: Mapping[str, Any], tenant: str, secrets: Secrets) -> tuple[dict[str, str], frozenset[str]]:
    if len(asked) > HEADERS_MAX:
        raise InvalidRequest(f"{len(asked)} headers; at most {HEADERS_MAX}")
    headers: dict[str, str] = {}
    secret_headers: set[str] = set()
    for name, value in asked.items():
        if not TOKEN.fullmatch(name):
            raise InvalidRequest(f"{name[:40]!r} is not the name of a header")
        if name.lower() in OUR_HEADERS:
            raise InvalidRequest(f"the header {name} is not a node's to set")
        if value is None:
            continue
        if isinstance(value, dict) and set(value) == {"secret"} and isinstance(value["secret"], str):
            secret = secrets(tenant, value["secret"])
            if secret is None:
                raise MissingSecret(f"header {name}: there is no secret {value['secret']!r}")
            secret_headers.add(name.lower())
            value = secret
        elif isinstance(value, bool):
            value = "true" if value else "false"
        elif isinstance(value, int | float):
            value = str(value)
        if not isinstance(value, str):
            raise InvalidRequest(f"header {name}: its value is neither text, a number nor a secret")
        if not VALUE.fullmatch(value):
            raise InvalidRequest(f"header {name}: its value holds a control character (CR, LF, NUL …)")
        headers[name] = value
    return headers, frozenset(secret_headers)


def _body(body: msgspec.Raw, headers: dict[str, str]) -> bytes | None:
    """Text goes as it is, any other value as JSON; null is no body."""
    raw = bytes(body)
    if raw == b"null":
        return None
    stated = {name.lower() for name in headers}
    if raw.startswith(b'"'):
        if "content-type" not in stated:
            headers["Content-Type"] = "text/plain; charset=utf-8"
        return msgspec.json.decode(raw, type=str).encode("utf-8")
    if "content-type" not in stated:
        headers["Content-Type"] = "application/json"
    return raw
