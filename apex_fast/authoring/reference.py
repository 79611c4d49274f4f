"""A place in the data of a run, written with dots and brackets."""

import json
import re
from typing import Final

WORD: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# CEL's keywords: a member of this name is written in brackets.
RESERVED: Final = frozenset(
    {"as", "break", "const", "continue", "else", "false", "for", "function", "if", "import", "in"}
    | {"let", "loop", "namespace", "null", "package", "return", "true", "var", "void", "while"}
)


class Reference:
    """``node.output.body["id"]``: as an input value it is `${nodes.….output.body.id}` and keeps the value's type;
    in an f-string it is inserted as text. `expression_of` gives the bare CEL for guards.
    """

    __slots__ = ("_expression",)

    def __init__(self, expression: str) -> None:
        self._expression = expression

    def __getattr__(self, name: str) -> "Reference":
        if name.startswith("__"):
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, member: str | int) -> "Reference":
        if isinstance(member, str) and WORD.fullmatch(member) and member not in RESERVED:
            return Reference(f"{self._expression}.{member}")
        return Reference(f"{self._expression}[{json.dumps(member)}]")

    def __iter__(self) -> "Reference":
        raise TypeError(f"{self._expression} has a value only when the run is there; use a map node to go through it")

    def __bool__(self) -> bool:
        raise TypeError(f"{self._expression} has a value only when the run is there; write a guard: when=f'…'")

    def __str__(self) -> str:
        return f"${{{self._expression}}}"

    def __repr__(self) -> str:
        return f"Reference({self._expression!r})"


def expression_of(reference: Reference) -> str:
    """The CEL expression of a reference."""
    return reference._expression
