"""The tree of errors, as it is drawn."""

import re

import pytest

from apex_fast import errors
from apex_fast.errors import CLASS_OF_CODE, ApexError, InvalidInput, Overloaded, error_of


def tree(kind: type[ApexError]) -> list[type[ApexError]]:
    return [
        kind,
        *(below for child in kind.__subclasses__() for below in tree(child) if below.__module__ == errors.__name__),
    ]


def test_the_drawing_is_the_tree() -> None:
    drawn = {
        (found[2], found[3], (len(found[1]) // 4))
        for found in re.finditer(r"^    ([│├└─ ]*)(\w+) +([A-Z_]{4,})  ", errors.__doc__ or "", re.MULTILINE)
    }
    real = {(kind.__name__, kind.default_code, len(kind.__mro__) - len(ApexError.__mro__)) for kind in tree(ApexError)}
    assert drawn == real


def test_every_class_has_a_code_of_its_own() -> None:
    for kind in tree(ApexError):
        assert CLASS_OF_CODE[kind.default_code] is kind


@pytest.mark.parametrize("code", sorted(CLASS_OF_CODE))
def test_a_code_becomes_its_exception_again(code: str) -> None:
    error = error_of(code, "why", errors=[("/a", "b")], retry_after_s=2.5)
    assert type(error) is CLASS_OF_CODE[code]
    assert (error.code, error.message, str(error)) == (code, "why", f"{code}: why")
    if isinstance(error, InvalidInput):
        assert error.errors == [("/a", "b")]
    if isinstance(error, Overloaded):
        assert error.retry_after_s == 2.5


def test_an_unknown_code() -> None:
    assert type(error_of("NEW", "x")) is ApexError
    assert type(error_of("NEW", "x", fallback=InvalidInput)) is InvalidInput
