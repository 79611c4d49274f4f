"""Bodies: what is refused, and where the pointer points."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apex_fast.errors import InvalidInput
from apex_fast.gateway.bodies import Body, check_json, check_labels, read_body, read_query, token_of


class Inner(Body):
    number: int
    names: list[str] = msgspec.field(default_factory=list)


class Outer(Body):
    inner: Inner
    more: list[Inner] = msgspec.field(default_factory=list)


class Query(Body):
    size: int = 0
    tag: list[str] = msgspec.field(default_factory=list)


DECODER = msgspec.json.Decoder(Outer)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b'{"inner": {"number": "1"}}', "/inner/number"),
        (b'{"inner": {"number": 1, "names": ["a", 2]}}', "/inner/names/1"),
        (b'{"inner": {"number": 1}, "more": [{"number": 1}, {"number": null}]}', "/more/1/number"),
        (b'{"inner": {"number": 1, "other": 1}}', "/inner/other"),
        (b'{"inner": {}}', "/inner/number"),
        (b"{}", "/inner"),
        (b"[]", ""),
        (b"", ""),
    ],
)
def test_a_wrong_field_is_named_by_its_pointer(body: bytes, pointer: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_body(body, DECODER)
    assert [place for place, _ in caught.value.errors] == [pointer]
    assert caught.value.code == "INVALID_INPUT"


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b'{"a": {"b": NaN}}', None),
        (b'{"a": 1, "a": 2}', "/a"),
        (b'{"a": ["\\ud800"]}', "/a/0"),
        (b'{"a": 9223372036854775808}', "/a"),
        (b"[" * 100_000, None),
        (b"[" * 100_000 + b"]" * 100_000, None),
        (b'{"a": "\xff"}', None),
        (b"{", None),
        (b"nul", None),
        (b'{"a/b~": [1, {"c": 9223372036854775808}]}', "/a~1b~0/1/c"),
    ],
)
def test_what_is_no_value_is_bad_json(body: bytes, pointer: str | None) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_body(body, DECODER)
    assert caught.value.code == "BAD_JSON"
    if pointer is not None:
        assert caught.value.errors[0][0] == pointer


def test_pointers_stand_below_the_prefix() -> None:
    with pytest.raises(InvalidInput) as caught:
        check_json(b'{"a": 1, "a": 2}', "/inputs_json")
    assert caught.value.errors[0][0] == "/inputs_json/a"


@given(st.recursive(st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(), lambda inner:
       st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=20))  # fmt: skip
def test_values_are_taken(value: object) -> None:
    check_json(msgspec.json.encode(value))


@given(st.binary(max_size=200))
def test_any_bytes_are_taken_or_refused_and_nothing_else(body: bytes) -> None:
    refused: InvalidInput | None = None
    try:
        read_body(body, DECODER)
    except InvalidInput as error:
        refused = error
    assert refused is None or (refused.code in {"BAD_JSON", "INVALID_INPUT"} and refused.errors)


@given(st.text())
def test_a_token_escapes_what_pointers_are_made_of(name: str) -> None:
    token = token_of(name)
    assert token[0] == "/"
    assert "/" not in token[1:]
    assert token[1:].replace("~1", "/").replace("~0", "~") == name


def test_queries() -> None:
    assert read_query("size=3&tag=a&tag=b", Query, frozenset({"tag"})) == Query(size=3, tag=["a", "b"])
    for text, pointer in (("size=x", "/size"), ("size=1&size=2", "/size"), ("colour=red", "/colour")):
        with pytest.raises(InvalidInput) as caught:
            read_query(text, Query)
        assert caught.value.errors[0][0] == pointer
    with pytest.raises(InvalidInput):
        read_query("a=%ff", Query)


def test_labels_are_bounded() -> None:
    check_labels({"a": "b"})
    for labels in ({f"l{i}": "" for i in range(33)}, {"": ""}, {"a" * 64: ""}, {"a": "b" * 256}):
        with pytest.raises(InvalidInput):
            check_labels(labels)
