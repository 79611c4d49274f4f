"""JSON that came from outside: checked as a value, then read as a type; a refusal names the place.

In: bytes. Out: msgspec structs, or InvalidInput whose pointers (RFC 6901) say where.
"""

import re
from collections.abc import Mapping
from typing import TypeVar
from urllib.parse import parse_qsl

import msgspec

from apex_fast.core import check_value
from apex_fast.domain import CoreError
from apex_fast.errors import InvalidInput

T = TypeVar("T")

KEY_CHARS_MAX = 255
NAME_CHARS_MAX = 255
REASON_CHARS_MAX = 4_096

# `… (at "/a/b", byte 12)`: how the core says where.
_CORE_PLACE = re.compile(r' \(at ("(?:[^"\\]|\\.)*"), byte \d+\)$')
# `… - at `$.a[0].b``: how msgspec says where.
_TYPE_PLACE = re.compile(r"^(.*?)(?: - at `\$(.*)`)?$", re.DOTALL)
_TYPE_FIELD = re.compile(r"^Object (?:contains unknown|missing required) field `(.*)`$", re.DOTALL)
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")


class Body(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Base of all request bodies: what is not known is refused."""


def token_of(name: str) -> str:
    """One reference token of a JSON Pointer."""
    return "/" + name.replace("~", "~0").replace("/", "~1")


def check_json(value: bytes, prefix: str = "") -> None:
    """Refuse what is not a user value (docs/decisions/0002): BAD_JSON with the pointer, below ``prefix``."""
    try:
        check_value(value)
    except CoreError as error:
        place = _CORE_PLACE.search(error.message)
        pointer = msgspec.json.decode(place[1], type=str) if place and "\\u{" not in place[1] else ""
        message = _CORE_PLACE.sub("", error.message)
        raise InvalidInput(message, errors=[(prefix + pointer, message)], code="BAD_JSON") from None


def check_object(value: bytes, prefix: str) -> None:
    """`check_json`, and an object."""
    check_json(value, prefix)
    if value.lstrip(b" \t\r\n")[:1] != b"{":
        raise InvalidInput("a JSON object is expected", errors=[(prefix, "a JSON object is expected")])


def invalid(pointer: str, detail: str, *, code: str | None = None) -> InvalidInput:
    """An InvalidInput about one place."""
    return InvalidInput(f"{pointer or 'the body'}: {detail}", errors=[(pointer, detail)], code=code)


def place_of(error: msgspec.ValidationError) -> tuple[str, str]:
    """msgspec's sentence and its `$.path` as (JSON Pointer, detail)."""
    found = _TYPE_PLACE.match(str(error))
    text, path = (found[1], found[2] or "") if found else (str(error), "")
    pointer = ""
    for field, index in _STEP.findall(path):
        if index == "...":
            break
        pointer += token_of(field or index)
    if (named := _TYPE_FIELD.match(text)) is not None:
        pointer += token_of(named[1])
    return pointer, text


def read_body(body: bytes, decoder: "msgspec.json.Decoder[T]") -> T:
    """The body as the decoder's type. Raises InvalidInput (BAD_JSON or INVALID_INPUT) with the pointer."""
    if not body:
        raise invalid("", "a JSON body is needed")
    check_json(body)
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise invalid(*place_of(error)) from None


def read_query(query: str, kind: type[T], many: frozenset[str] = frozenset()) -> T:
    """The query string as a struct; names in ``many`` may come more than once."""
    values: dict[str, str | list[str]] = {}
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=64)
    except (ValueError, UnicodeDecodeError):
        raise InvalidInput("the query string cannot be read") from None
    for name, value in pairs:
        if name in many:
            held = values.setdefault(name, [])
            if isinstance(held, list):
                held.append(value)
        elif name in values:
            raise invalid(token_of(name), "the query parameter is given twice")
        else:
            values[name] = value
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        pointer, detail = place_of(error)
        raise invalid(pointer, f"query parameter: {detail}") from None


def check_text(value: str, pointer: str, chars_max: int) -> None:
    """Refuse a text that is too long."""
    if len(value) > chars_max:
        raise invalid(pointer, f"at most {chars_max} characters")


def check_key(key: str, pointer: str = "/idempotency_key") -> None:
    """Refuse an idempotency key that is too long."""
    check_text(key, pointer, KEY_CHARS_MAX)


def check_labels(labels: Mapping[str, str], pointer: str = "/labels") -> None:
    """At most 32 labels; names of 1 to 63 and values of at most 255 characters (proto/apex/v1/run.proto)."""
    if len(labels) > 32:
        raise invalid(pointer, "at most 32 labels")
    for name, value in labels.items():
        if not 1 <= len(name) <= 63:
            raise invalid(pointer + token_of(name), "a label's name has 1 to 63 characters")
        if len(value) > 255:
            raise invalid(pointer + token_of(name), "a label's value has at most 255 characters")
