"""A small part of CEL over Python values: literals, names, members, `?:`, `||`, `&&`, `!`, comparison, arithmetic.

Follows the CEL specification where null and errors meet: `&&` and `||` are commutative over errors, `==` never fails,
arithmetic and order only on numbers of one type.
"""

import re
from collections.abc import Mapping
from typing import TypeAlias, cast

Value: TypeAlias = "bool | int | float | str | list[Value] | dict[str, Value] | None"

_TOKEN = re.compile(r'\s*(?:(\d+)|"([^"\\]*)"|([A-Za-z_]\w*)|(\|\||&&|[=!<>]=|[-+*/%<>!?:().\[\]]))')
_LEVELS = [["||"], ["&&"], ["==", "!=", "<", "<=", ">", ">="], ["+", "-"], ["*", "/", "%"]]
_INT_MAX = 2**63 - 1


class ExpressionError(Exception):
    """The expression has no value."""


class Absent:
    """The mark of a node without output: every path below it is null."""


ABSENT = Absent()


def evaluate(text: str, names: Mapping[str, object]) -> Value:
    """The value of `text`. `names`: what stands behind the first name of a path; `ABSENT` gives null at any depth."""
    parser = _Parser(text, names)
    value = parser.ternary()
    parser.end()
    if isinstance(value, ExpressionError):
        raise value
    return value


def is_true(text: str, names: Mapping[str, object]) -> bool:
    """A guard: null is false, anything else but a bool is an error."""
    value = evaluate(text, names)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise ExpressionError(f"a guard is a bool, not {value!r}")
    return value


def render(template: Value, names: Mapping[str, object]) -> Value:
    """A template: `${…}` within strings; a string that is one `${…}` keeps its value's type."""
    if isinstance(template, list):
        return [render(item, names) for item in template]
    if isinstance(template, dict):
        return {key: render(item, names) for key, item in template.items()}
    if not isinstance(template, str):
        return template
    parts = re.split(r"\$\{([^}]*)\}", template)
    if len(parts) == 3 and not parts[0] and not parts[2]:
        return evaluate(parts[1], names)
    return "".join(part if at % 2 == 0 else _text(evaluate(part, names)) for at, part in enumerate(parts))


def _text(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | str):
        return str(value)
    raise ExpressionError(f"no text for {value!r}")


_Result: TypeAlias = "Value | ExpressionError"


class _Parser:
    """Parses and evaluates in one pass: errors are values until an operator has to look at them."""

    def __init__(self, text: str, names: Mapping[str, object]) -> None:
        self.names = names
        self.tokens: list[tuple[str, str]] = []
        at = 0
        text = text.rstrip()
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None:
                raise ValueError(f"outside the oracle's part of CEL: {text[at:]!r}")
            number, string, name, operator = match.groups()
            kind = "int" if number else "name" if name else "op" if operator else "string"
            self.tokens.append((kind, number or name or operator or string or ""))
            at = match.end()
        self.at = 0

    def end(self) -> None:
        if self.at != len(self.tokens):
            raise ValueError(f"trailing {self.tokens[self.at :]}")

    def peek(self, *operators: str) -> bool:
        return self.at < len(self.tokens) and self.tokens[self.at] in [("op", o) for o in operators]

    def take(self) -> tuple[str, str]:
        self.at += 1
        return self.tokens[self.at - 1]

    def expect(self, operator: str) -> None:
        if self.take() != ("op", operator):
            raise ValueError(f"expected {operator}")

    def ternary(self) -> _Result:
        condition = self.binary(0)
        if not self.peek("?"):
            return condition
        self.take()
        yes = self.ternary()
        self.expect(":")
        no = self.ternary()
        if isinstance(condition, ExpressionError):
            return condition
        if not isinstance(condition, bool):
            return ExpressionError("the condition of ?: is no bool")
        return yes if condition else no

    def binary(self, level: int) -> _Result:
        if level == len(_LEVELS):
            return self.unary()
        left = self.binary(level + 1)
        while self.peek(*_LEVELS[level]):
            operator = self.take()[1]
            left = _apply(operator, left, self.binary(level + 1))
        return left

    def unary(self) -> _Result:
        if self.peek("!", "-"):
            operator = self.take()[1]
            value = self.unary()
            if isinstance(value, ExpressionError):
                return value
            if operator == "!":
                return (not value) if isinstance(value, bool) else ExpressionError("! of no bool")
            return -value if isinstance(value, int) and not isinstance(value, bool) else ExpressionError("- of no int")
        return self.primary()

    def primary(self) -> _Result:
        kind, text = self.take()
        if kind == "int":
            return int(text)
        if kind == "string":
            return text
        if (kind, text) == ("op", "("):
            value = self.ternary()
            self.expect(")")
            return value
        if text in ("true", "false", "null"):
            return {"true": True, "false": False, "null": None}[text]
        if kind != "name":
            raise ValueError(f"unexpected {text}")
        return self.path(self.names[text])

    def path(self, found: object) -> _Result:
        while self.peek(".", "["):
            if self.take()[1] == ".":
                key: object = self.take()[1]
            else:
                key = self.ternary()
                self.expect("]")
            found = _member(found, key)
        return None if isinstance(found, Absent) else cast(_Result, found)


def _member(value: object, key: object) -> object:
    if isinstance(value, ExpressionError | Absent):
        return value
    if isinstance(key, ExpressionError):
        return key
    if isinstance(value, dict) and isinstance(key, str):
        return value.get(key, ExpressionError(f"no such key: {key}"))
    if isinstance(value, list) and isinstance(key, int) and not isinstance(key, bool):
        return value[key] if 0 <= key < len(value) else ExpressionError("index out of bounds")
    return ExpressionError(f"no member {key!r} of {type(value).__name__}")


def _apply(operator: str, left: _Result, right: _Result) -> _Result:
    if operator in ("&&", "||"):
        decisive = operator == "||"
        if left is decisive or right is decisive:
            return decisive
        for side in (left, right):
            if isinstance(side, ExpressionError):
                return side
            if not isinstance(side, bool):
                return ExpressionError(f"{operator} of no bool")
        return not decisive
    for side in (left, right):
        if isinstance(side, ExpressionError):
            return side
    if operator in ("==", "!="):
        return same(left, right) == (operator == "==")
    if isinstance(left, str) and isinstance(right, str) and operator == "+":
        return left + right
    ordered = operator in ("<", "<=", ">", ">=")
    if ordered and isinstance(left, str) and isinstance(right, str):
        return _ordered(operator, (left > right) - (left < right))
    if type(left) is not int or type(right) is not int:
        return ExpressionError(f"{operator} of {left!r} and {right!r}")
    if ordered:
        return _ordered(operator, left - right)
    return _arithmetic(operator, left, right)


def _ordered(operator: str, sign: int) -> bool:
    return {"<": sign < 0, "<=": sign <= 0, ">": sign > 0, ">=": sign >= 0}[operator]


def _arithmetic(operator: str, left: int, right: int) -> _Result:
    if operator in ("/", "%"):
        if right == 0:
            return ExpressionError("division by zero")
        quotient = abs(left) // abs(right) * (1 if (left < 0) == (right < 0) else -1)
        value = quotient if operator == "/" else left - quotient * right
    else:
        value = {"+": left + right, "-": left - right, "*": left * right}[operator]
    return value if -_INT_MAX - 1 <= value <= _INT_MAX else ExpressionError("overflow")


def same(left: object, right: object) -> bool:
    """Equality of user values: `1` is not `true`."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(same(a, b) for a, b in zip(left, right, strict=True))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    return bool(left == right)
