"""A registered callable: its policy, and the way of a JSON value into its arguments and out of its result.

Decoders are built once, when the function is registered, so that a call costs one decode and one encode (0.5 µs each
for two small arguments and a string, measured on a busy 2-core machine). Types that msgspec does
not know may bring `model_validate` and `model_dump` (pydantic's names).
"""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from operator import attrgetter
from typing import Any, Final, Literal, TypeAlias, cast, get_type_hints

import msgspec
import msgspec.inspect

from apex_fast.authoring.breaker import Breaker
from apex_fast.authoring.rate import Rate, rate_document
from apex_fast.authoring.retry import Retry

Effect: TypeAlias = Literal["pure", "read", "write"]
EFFECTS: Final = ("pure", "read", "write")
EMPTY: Final = b"{}"
# What may stand where a bare `-> str` promises one of these is checked by identity of the type: the common case.
PLAIN: Final = frozenset({str, int, float, bool})


class InvalidArguments(ValueError):
    """The input does not fit the function's parameters; trying again does not help."""

    retryable = False


class InvalidResult(ValueError):
    """What the function returned is no JSON value, or not what its annotation says; trying again does not help."""

    retryable = False


def _enc_hook(value: object) -> object:
    dump = getattr(value, "model_dump", None)
    if dump is not None:
        return dump(mode="json")
    raise NotImplementedError(f"a {type(value).__qualname__} is not a JSON value")


def _without_raw(value: object) -> object:
    """JSON that is ready has no floats of Python in it; the core checks it as any value."""
    return None if isinstance(value, msgspec.Raw) else _enc_hook(value)


def _dec_hook(kind: type, value: object) -> object:
    if kind is object:
        return value
    try:
        return kind.model_validate(value)  # type: ignore[attr-defined]
    except ValueError as error:
        raise msgspec.ValidationError(str(error)) from error


def _refuse_unknown(hint: Any) -> None:
    """Raise TypeError where a type, at any depth, is neither msgspec's nor brings `model_validate`."""
    waiting: list[object] = [msgspec.inspect.type_info(hint)]
    seen: set[int] = set()
    while waiting:
        info = waiting.pop()
        if id(info) in seen:
            continue
        seen.add(id(info))
        if isinstance(info, msgspec.inspect.CustomType):
            if info.cls is not object and not hasattr(info.cls, "model_validate"):
                raise TypeError(f"{info.cls!r} has no form in JSON")
        elif isinstance(info, msgspec.Struct):
            waiting.extend(getattr(info, name) for name in info.__struct_fields__ if name not in ("default", "cls"))
        elif isinstance(info, tuple | list):
            waiting.extend(info)


_encode: Final = msgspec.json.Encoder(enc_hook=_enc_hook).encode


class Function:
    """One registered callable. Frozen after it is made; raises TypeError where it cannot be called from JSON."""

    __slots__ = (
        "_result_kind",
        "_result_plain",
        "arguments",
        "breaker",
        "call",
        "compensation",
        "effect",
        "heartbeat_timeout_s",
        "is_async",
        "name",
        "original",
        "rate_limit",
        "retry",
        "schedule_to_close_s",
        "timeout_s",
    )  # fmt: skip

    def __init__(
        self,
        original: Callable[..., object],
        name: str,
        *,
        effect: Effect = "write",
        compensation: str | None = None,
        retry: Retry | None = None,
        timeout_s: float | None = None,
        schedule_to_close_s: float | None = None,
        heartbeat_timeout_s: float | None = None,
        breaker: Breaker | None = None,
        rate_limit: Rate | None = None,
        local_names: Mapping[str, object] | None = None,
    ) -> None:
        if effect not in EFFECTS:
            raise ValueError(f"function {name}: effect is {effect!r}; it is one of {', '.join(EFFECTS)}")
        for limit, seconds in (
            ("timeout_s", timeout_s),
            ("schedule_to_close_s", schedule_to_close_s),
            ("heartbeat_timeout_s", heartbeat_timeout_s),
        ):
            if seconds is not None and not 0 < seconds < float("inf"):
                raise ValueError(f"function {name}: {limit} is {seconds}; it is positive and finite")
        self.name = name
        self.original = original
        self.effect: Effect = effect
        self.compensation = compensation
        self.retry = retry
        self.timeout_s = timeout_s
        self.schedule_to_close_s = schedule_to_close_s
        self.heartbeat_timeout_s = heartbeat_timeout_s
        self.breaker = breaker
        self.rate_limit = None if rate_limit is None else rate_document(rate_limit)
        self.is_async = inspect.iscoroutinefunction(original) or inspect.iscoroutinefunction(
            getattr(original, "__call__", None)  # noqa: B004 (an object with an async __call__)
        )
        if inspect.isasyncgenfunction(original) or inspect.isgeneratorfunction(original):
            raise TypeError(f"function {name}: a generator has no result; return a list, or use a map node")
        hints = _hints(original, name, local_names)
        result = hints.pop("return", Any)
        # The executor calls `call(*arguments(input))`.
        self.arguments, self.call = _codec(original, name, hints)
        self._result_kind: Any = None if result in (Any, object) else result
        self._result_plain = result if result in PLAIN else None
        if self._result_kind is not None and result is not type(None):
            try:
                _refuse_unknown(result)
            except TypeError as error:
                raise TypeError(f"function {name}: the result cannot be JSON: {error}") from None

    def encode(self, result: object) -> bytes:
        """The result as JSON. Raises InvalidResult."""
        kind = self._result_kind
        try:
            if kind is not None and type(result) is not self._result_plain:
                result = _conform(result, kind)
            value = _encode(result)
            # msgspec writes NaN and infinities as null; values know neither (docs/decisions/0002).
            if result is not None and b"null" in value:
                _refuse_not_a_number(result)
        except InvalidResult:
            raise
        except RecursionError:
            raise InvalidResult(f"{self.name} returned a value that is nested too deeply, or contains itself") from None
        except Exception as error:
            raise InvalidResult(f"{self.name} returned what cannot be its result: {_sentence(error)}") from error
        return value

    def table_entry(self) -> dict[str, object]:
        """The function's defaults as the compiler reads them."""
        stated = {
            "effect": self.effect,
            "retry": None if self.retry is None else self.retry.document(),
            "timeout_s": self.timeout_s,
            "schedule_to_close_s": self.schedule_to_close_s,
            "heartbeat_timeout_s": self.heartbeat_timeout_s,
            "breaker": None if self.breaker is None else self.breaker.document(),
            "rate_limit": self.rate_limit,
            "compensation": self.compensation,
        }
        return {name: value for name, value in stated.items() if value is not None}


def _hints(original: Callable[..., object], name: str, local_names: Mapping[str, object] | None) -> dict[str, Any]:
    annotated = original if inspect.isroutine(original) else getattr(original, "__call__")  # noqa: B004, B009
    if isinstance(original, partial):
        annotated = original.func
    try:
        return get_type_hints(annotated, localns=dict(local_names or {}), include_extras=True)
    except NameError as error:
        raise TypeError(f"function {name}: {error}; define the type above the function") from None


def _codec(
    original: Callable[..., object], name: str, hints: Mapping[str, Any]
) -> tuple[Callable[[bytes], tuple[object, ...]], Callable[..., object]]:
    """The decoder of the arguments (JSON object to a tuple), and what to call with that tuple."""
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    keywords: list[str] = []
    more: Any = None
    for parameter in inspect.signature(original).parameters.values():
        kind = hints.get(parameter.name, Any)
        if parameter.kind is parameter.VAR_POSITIONAL:
            raise TypeError(f"function {name}: *{parameter.name} has no name in a JSON object; take a list instead")
        if parameter.kind is parameter.VAR_KEYWORD:
            more = kind
            continue
        if parameter.kind is parameter.KEYWORD_ONLY:
            keywords.append(parameter.name)
        if parameter.default is parameter.empty:
            fields.append((parameter.name, kind))
        else:
            fields.append((parameter.name, kind, msgspec.field(default_factory=partial(_same, parameter.default))))
    names = [field[0] for field in fields]
    try:
        shape = msgspec.defstruct(
            f"arguments of {name}", fields, kw_only=True, forbid_unknown_fields=more is None, gc=False
        )
        for field in fields:
            _refuse_unknown(field[1])
        decode = msgspec.json.Decoder(shape, dec_hook=_dec_hook).decode
        decode_more = None if more is None else msgspec.json.Decoder(dict[str, more], dec_hook=_dec_hook).decode
    except TypeError as error:
        raise TypeError(f"function {name}: an argument cannot be made from JSON: {error}") from None
    pick = _picker(names)

    def arguments(value: bytes) -> tuple[object, ...]:
        """Raises InvalidArguments."""
        try:
            return pick(decode(value))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidArguments(f"{name}: {_sentence(error)}") from None

    if decode_more is not None:
        return _with_more(name, original, names, keywords, arguments, decode_more)
    if not names:
        return partial(_no_arguments, arguments), original
    if not keywords:
        return arguments, original
    return arguments, _by_keyword(original, keywords)


def _same(value: object) -> object:
    return value


def _no_arguments(arguments: Callable[[bytes], tuple[object, ...]], value: bytes) -> tuple[object, ...]:
    return () if value == EMPTY else arguments(value)


def _picker(names: list[str]) -> Callable[[Any], tuple[object, ...]]:
    if not names:
        return lambda _: ()
    getter = attrgetter(*names)
    if len(names) == 1:
        return lambda shape: (getter(shape),)
    return cast("Callable[[Any], tuple[object, ...]]", getter)


def _by_keyword(original: Callable[..., object], keywords: list[str]) -> Callable[..., object]:
    count = len(keywords)

    def call(*values: object) -> object:
        return original(*values[:-count], **dict(zip(keywords, values[-count:], strict=True)))

    return call


def _with_more(
    name: str,
    original: Callable[..., object],
    names: list[str],
    keywords: list[str],
    arguments: Callable[[bytes], tuple[object, ...]],
    decode_more: Callable[[bytes], dict[str, object]],
) -> tuple[Callable[[bytes], tuple[object, ...]], Callable[..., object]]:
    """A callable with ``**more``: the named ones are checked by their own annotations, the rest by that of `more`."""
    named = frozenset(names)

    def split(value: bytes) -> tuple[object, ...]:
        found = arguments(value)
        try:
            rest = {
                key: decode_more(b'{"":' + bytes(raw) + b"}")[""]
                for key, raw in msgspec.json.decode(value, type=dict[str, msgspec.Raw]).items()
                if key not in named
            }
        except msgspec.DecodeError as error:
            raise InvalidArguments(f"{name}: {_sentence(error)}") from None
        return (*found, rest)

    def call(*values: object) -> object:
        *found, rest = values
        positional = len(found) - len(keywords)
        return original(
            *found[:positional],
            **dict(zip(keywords, found[positional:], strict=True)),
            **cast("dict[str, object]", rest),
        )

    return split, call


def _conform(result: object, kind: Any) -> object:
    """The result as its annotation says; plain Python values become the annotated type where they fit."""
    if kind is type(None):
        if result is not None:
            raise msgspec.ValidationError(f"Expected `null`, got `{type(result).__name__}`")
        return None
    if isinstance(kind, type) and isinstance(result, kind) and kind not in (dict, list):
        return result
    return msgspec.convert(result, kind, dec_hook=_dec_hook, from_attributes=False)


def _refuse_not_a_number(result: object) -> None:
    """Raise InvalidResult where a float that JSON has no name for was written as null."""
    waiting = [msgspec.to_builtins(result, enc_hook=_without_raw)]
    while waiting:
        value = waiting.pop()
        if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
            raise InvalidResult(f"the result holds {value}, which is no JSON number; return None or a string instead")
        if isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list | tuple):
            waiting.extend(value)


WORDS: Final = (
    ("Object missing required field ", "missing argument "),
    ("Object contains unknown field ", "unknown argument "),
    (" - at `$`", ""),
    ("`$.", "`"),
)


def _sentence(error: BaseException) -> str:
    """msgspec's words, as a user sees the input: `$.order.id` becomes `order.id`."""
    text = str(error)
    for theirs, ours in WORDS:
        text = text.replace(theirs, ours)
    return text
