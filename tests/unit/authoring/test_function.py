"""Arguments and results by their annotations, and what cannot be registered."""

import enum
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apex_fast import App, Retry
from apex_fast.authoring import Function, InvalidArguments, InvalidResult
from apex_fast.core import compile

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
)  # fmt: skip


class Colour(enum.Enum):
    RED = "red"


@dataclass
class Point:
    x: int
    y: int = 0


class Order(TypedDict):
    id: str


class Model:
    """The two methods of a pydantic model."""

    def __init__(self, n: int) -> None:
        self.n = n

    @classmethod
    def model_validate(cls, value: Any) -> "Model":
        if not isinstance(value, dict) or not isinstance(value.get("n"), int):
            raise ValueError("n is an integer")
        return cls(value["n"])

    def model_dump(self, mode: str) -> dict[str, int]:
        assert mode == "json"
        return {"n": self.n}


def call(function: Function, text: bytes) -> object:
    return function.call(*function.arguments(text))


@given(JSON)
def test_any_value_goes_in_and_comes_out(value: Any) -> None:
    def same(value):  # type: ignore[no-untyped-def]
        return value

    function = Function(same, "same")
    text = msgspec.json.encode({"value": value})
    assert msgspec.json.decode(function.encode(call(function, text))) == msgspec.json.decode(text)["value"]


def test_annotations_convert() -> None:
    def take(
        point: Point, colour: Colour, order: Order, model: Model, *, n: Annotated[int, msgspec.Meta(ge=1)] = 1
    ) -> Point:
        assert (colour, order, model.n, n) == (Colour.RED, {"id": "a"}, 3, 2)
        return point

    function = Function(take, "take")
    text = b'{"point":{"x":1,"y":7},"colour":"red","order":{"id":"a"},"model":{"n":3},"n":2}'
    result = call(function, text)
    assert result == Point(1, 7)
    assert function.encode(result) == b'{"x":1,"y":7}'
    # Plain values that fit the annotation are taken for it.
    assert function.encode({"x": 5, "y": 6}) == b'{"x":5,"y":6}'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b'{"a":"x"}', "`int`, got `str` - at `a`"),
        (b'{"a":1,"p":{"x":1.5}}', "at `p.x`"),
        (b"{}", "missing argument `a`"),
        (b'{"a":1,"z":1}', "unknown argument `z`"),
        (b"[1]", "`object`, got `array`"),
        (b"nonsense", "malformed"),
        (b'{"a":1', "truncated"),
        (b'{"a":1,"m":{"n":"x"}}', "n is an integer"),
        (b'{"a":\xff}', "malformed"),
        (b'{"l":' + b"[" * 100_000, "f:"),
    ],
)
def test_arguments_that_do_not_fit_are_named(text: bytes, says: str) -> None:
    def f(a: int, p: Point | None = None, m: Model | None = None, l: Any = None) -> None: ...  # noqa: E741

    with pytest.raises(InvalidArguments) as caught:
        Function(f, "f").arguments(text)
    assert says in str(caught.value)
    assert caught.value.retryable is False


def test_more_arguments() -> None:
    def f(a: int, *, b: int = 2, **more: int) -> dict[str, int]:
        return {"a": a, "b": b, **more}

    function = Function(f, "f")
    assert call(function, b'{"a":1,"c":3,"d":4}') == {"a": 1, "b": 2, "c": 3, "d": 4}
    with pytest.raises(InvalidArguments):
        call(function, b'{"a":1,"c":"3"}')


def test_object_takes_and_gives_anything() -> None:
    def f(a: object, b: dict[str, object]) -> dict[str, list[object]]:
        return {"both": [a, b]}

    function = Function(f, "f")
    assert function.encode(call(function, b'{"a":[1],"b":{"c":null}}')) == b'{"both":[[1],{"c":null}]}'


def test_defaults_are_the_functions_own() -> None:
    marker = object()

    def f(a: Any = marker, b: Any = None) -> bool:
        return a is marker and b is None

    assert call(Function(f, "f"), b"{}") is True


@pytest.mark.parametrize(
    ("kind", "value", "says"),
    [
        (object, object(), "object"),
        (object, float("nan"), "nan"),
        (object, {"a": [None, float("-inf")]}, "-inf"),
        (object, [msgspec.Raw(b"null"), float("nan")], "nan"),
        (object, "\ud800", "surrogate"),
        (int, "1", "`int`, got `str`"),
        (str, None, "`str`, got `null`"),
        (type(None), 1, "`null`, got `int`"),
        (Point, {"x": "1"}, "at `x`"),
        (list[int], [1, "2"], "`int`, got `str`"),
    ],
)
def test_results_that_do_not_fit(kind: Any, value: object, says: str) -> None:
    def f():  # type: ignore[no-untyped-def]
        return value

    f.__annotations__["return"] = kind
    with pytest.raises(InvalidResult) as caught:
        Function(f, "f").encode(value)
    assert says in str(caught.value)


def test_json_that_is_ready_goes_as_it_is() -> None:
    def f() -> Any: ...

    assert Function(f, "f").encode([msgspec.Raw(b"null"), None]) == b"[null,null]"


def test_a_result_that_holds_itself() -> None:
    loop: list[Any] = []
    loop.append(loop)

    def f() -> Any:
        return loop

    with pytest.raises(InvalidResult, match="contains itself"):
        Function(f, "f").encode(loop)


def test_what_cannot_be_registered() -> None:
    app = App()

    def positional(*values: int) -> None: ...

    async def generator() -> AsyncIterator[int]:
        yield 1

    def returns_strange() -> "NotThere":  # type: ignore[name-defined]  # noqa: F821
        ...

    def takes_strange(a: int, b: dict[str, list[set]] | None = None, c: "App | None" = None) -> None: ...  # type: ignore[type-arg]

    def gives_strange() -> list[App]:
        return []

    for bad in (positional, generator, returns_strange, takes_strange, gives_strange):
        with pytest.raises(TypeError, match=bad.__name__):
            app.function()(bad)
    with pytest.raises(TypeError, match="parentheses"):
        app.function(positional)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="a name matches"):
        app.function(name="no spaces")(test_a_result_that_holds_itself)
    with pytest.raises(ValueError, match="give one with name="):
        app.function()(lambda: None)
    with pytest.raises(ValueError, match="effect"):
        app.function(effect="none")(test_defaults_are_the_functions_own)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="timeout_s"):
        app.function(timeout_s=0)(test_defaults_are_the_functions_own)
    app.add(test_more_arguments, "twice")
    with pytest.raises(ValueError, match="registered already"):
        app.add(test_more_arguments, "twice")


def test_the_table_holds_what_was_said() -> None:
    app = App()

    @app.function(effect="write")
    async def undo(input: Any, output: Any) -> None: ...

    @app.function(compensation=undo, retry=Retry(max_attempts=5, non_retryable=[KeyError, "Mine"]), timeout_s=2)
    def book(to: str) -> str:
        return to

    assert book("Paris") == "Paris"
    assert msgspec.json.decode(app.table()) == {
        "undo": {"effect": "write"},
        "book": {
            "effect": "write",
            "timeout_s": 2,
            "compensation": "undo",
            "retry": {
                "max_attempts": 5, "initial_s": 0.2, "factor": 2.0, "max_s": 30.0, "jitter": 0.2,
                "non_retryable": ["KeyError", "Mine"],
            },
        },
    }  # fmt: skip
    app.add(lambda: None, "third", compensation="nobody")
    with pytest.raises(ValueError, match="nobody"):
        app.table()


@pytest.mark.parametrize(
    "numbers",
    [{"max_attempts": 0}, {"initial_s": -1}, {"initial_s": 5, "max_s": 1}, {"factor": 0.5}, {"jitter": 2},
     {"max_s": float("inf")}, {"factor": float("nan")}],
)  # fmt: skip
def test_a_retry_that_makes_no_sense(numbers: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Retry"):
        Retry(**numbers)


def test_a_rate_is_written_as_people_say_it() -> None:
    app = App()

    @app.function(rate_limit="100/min")
    async def slow() -> None: ...

    @app.function(rate_limit={"count": 2, "per_s": 0.5, "burst": 1})
    async def exact() -> None: ...

    assert app.functions["slow"].table_entry()["rate_limit"] == {"count": 100, "per_s": 60}
    assert app.functions["exact"].table_entry()["rate_limit"] == {"count": 2, "per_s": 0.5, "burst": 1}
    flow = app.workflow("w")
    flow.function("a", slow)
    assert b'"rate_limit":{"burst":100,"count":100,"per_s":60}' in compile(app.definitions()[0], app.table()).canonical
    for bad in ("10", "0/s", "x/s", "10/0s", "10/day"):
        with pytest.raises(ValueError, match="is no rate"):
            app.function(name=f"bad{len(bad)}", rate_limit=bad)(slow)
