"""Whatever a guest does, a call ends in an answer or a refusal."""

import json
import time

import pytest

from apex_fast.optimizer import Answer, Guest, Limits, Refusal
from tests.support.patience import PATIENCE_S
from tests.unit.optimizer.guests import EMPTY, module, saying, speaking

LOG = '(import "apex" "log" (func $log (param i32 i32)))'
SMALL = Limits(memory_bytes=1 << 20, fuel=50_000_000, time_s=PATIENCE_S, output_bytes=1024)


def refusal(guest: bytes, limits: Limits = SMALL) -> Refusal:
    """What the host says of a guest that must not get through."""
    answer = Guest(guest, limits).call(b"{}")
    assert isinstance(answer, Refusal), answer
    return answer


def test_a_guest_that_finds_nothing() -> None:
    answer = Guest(saying(EMPTY), SMALL).call(b"{}")
    assert isinstance(answer, Answer)
    assert answer.patch is None
    assert 0 < answer.fuel < 1000


def test_a_patch_is_read() -> None:
    patch = {"operations": [{"op": "test", "path": "", "value": 1}], "findings": [], "expected": {"calls": 1.5}}
    answer = Guest(saying(json.dumps({"patch": patch})), SMALL).call(b"{}")
    assert isinstance(answer, Answer)
    assert answer.patch is not None
    assert json.loads(bytes(answer.patch.operations)) == patch["operations"]
    assert (answer.patch.expected.calls, answer.patch.expected.work_s) == (1.5, 0.0)


@pytest.mark.parametrize(
    ("run", "code"),
    [
        ("(loop $again (br $again)) (unreachable)", "OUT_OF_FUEL"),
        ("(unreachable)", "TRAPPED"),
        ("(i64.extend_i32_u (i32.div_u (i32.const 1) (i32.const 0)))", "TRAPPED"),
        ("(i64.load (i32.const 0x7fffffff))", "TRAPPED"),
        ("(i64.const 0x0000001000000401)", "OUTPUT_TOO_LARGE"),
        ("(i64.const 0x00000010ffffffff)", "OUTPUT_TOO_LARGE"),
        ("(i64.const 0xffffffff00000010)", "OUTPUT_INVALID"),
        ("(i64.const 0x0000001000000010)", "OUTPUT_INVALID"),
        ("(i64.const 0)", "OUTPUT_INVALID"),
    ],
)
def test_what_a_call_does_wrong_is_named(run: str, code: str) -> None:
    assert refusal(speaking(run)).code == code


def test_a_guest_that_calls_itself_for_ever() -> None:
    body = """
        (func (export "apex_pass_abi") (result i32) (i32.const 1))
        (func (export "allocate") (param i32) (result i32) (i32.const 0))
        (func $run (export "run") (param i32 i32) (result i64) (call $run (local.get 0) (local.get 1)))
    """
    assert refusal(module(body)).code in {"TRAPPED", "OUT_OF_FUEL"}


def test_time_is_bounded_where_fuel_is_plenty() -> None:
    begin_s = time.thread_time()
    said = refusal(speaking("(loop $again (br $again)) (unreachable)"), Limits(fuel=1 << 60, time_s=0.05))
    assert said.code == "OUT_OF_TIME"
    assert time.thread_time() - begin_s < 5


def test_one_call_out_of_time_does_not_shorten_the_next() -> None:
    loop = "(if (i32.eq (local.get $bytes) (i32.const 2)) (then (loop $again (br $again))))"
    data = '(data (i32.const 16) "{}")'
    guest = Guest(speaking(f"{loop} (i64.const 0x0000001000000002)", data), Limits(fuel=1 << 60, time_s=0.05))
    answered = 0
    # Where the machine stands still for 50 ms the short call is out of time by itself. Were it by the one before it,
    # each would be.
    for _ in range(50):
        assert isinstance(guest.call(b"{}"), Refusal)
        answered += isinstance(guest.call(b"{ }"), Answer)
        if answered == 3:
            break
    assert answered == 3


def test_memory_is_bounded() -> None:
    grow = "(if (i32.eq (memory.grow (i32.const 1000)) (i32.const -1)) (then (unreachable))) (i64.const 0)"
    assert refusal(speaking(grow)).code == "TRAPPED"
    large = module('(func (export "x"))', memory='(memory (export "memory") 1000)')
    assert refusal(large).code == "ABI_UNKNOWN"
    all_at_once = speaking("(i64.const 0)").replace(b"\x05\x03\x01\x00\x02", b"\x05\x04\x01\x00\xe8\x07")
    assert refusal(all_at_once).code in {"TRAPPED", "MODULE_INVALID"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "[]",
        '{"patch": 1}',
        '{"patch": {}}',
        '{"patch": {"operations": [], "findings": [], "expected": {}, "more": 1}}',
        '{"patch": {"operations": [], "findings": [{"nodes": "a", "reason": "r"}], "expected": {}}}',
        "[" * 500,
    ],
)
def test_nonsense_is_no_answer(text: str) -> None:
    assert refusal(saying(text)).code == "OUTPUT_INVALID"


def test_a_guest_may_say_that_it_does_not_understand() -> None:
    said = refusal(saying('{"error": "format 2 is unknown"}'))
    assert (said.code, said.reason) == ("INPUT_REFUSED", "format 2 is unknown")


@pytest.mark.parametrize("allocate", ["(i32.const 0x7ffffff0)", "(i32.const -4)", "(unreachable)"])
def test_a_place_that_is_not_there(allocate: str) -> None:
    assert refusal(speaking("(i64.const 0)", allocate=allocate)).code == "TRAPPED"


@pytest.mark.parametrize(
    ("guest", "code"),
    [
        (b"", "MODULE_INVALID"),
        (b"\0asm nonsense", "MODULE_INVALID"),
        (module(""), "ABI_UNKNOWN"),
        (module("", memory=""), "ABI_UNKNOWN"),
        (speaking("(i64.const 0)", abi=2), "ABI_UNKNOWN"),
        (speaking("(i64.const 0)", imports='(import "wasi_snapshot_preview1" "fd_write" (func))'), "IMPORT_REFUSED"),
        (speaking("(i64.const 0)", imports='(import "apex" "log" (global i32))'), "IMPORT_REFUSED"),
        (speaking("(i64.const 0)", imports='(import "apex" "log" (func (param i64)))'), "TRAPPED"),
    ],
)
def test_what_is_no_pass_is_never_called(guest: bytes, code: str) -> None:
    assert refusal(guest).code == code


def test_names_that_are_not_what_they_say() -> None:
    names = ["apex_pass_abi", "allocate", "run"]
    wrong = "".join(f'(global (export "{name}") i32 (i32.const 1))' for name in names)
    assert refusal(module(wrong)).code == "ABI_UNKNOWN"
    plain = "".join(f'(func (export "{name}"))' for name in names)
    assert refusal(module(plain)).code in {"ABI_UNKNOWN", "TRAPPED"}


def test_a_module_that_works_before_it_is_asked() -> None:
    start = '(start $s) (func $s (loop $again (br $again))) (func (export "apex_pass_abi"))'
    rest = '(func (export "allocate")) (func (export "run"))'
    assert refusal(module(start + rest)).code == "OUT_OF_FUEL"


def test_the_log_is_kept_and_bounded() -> None:
    once = "(call $log (i32.const 16) (i32.const 5))"
    answer = Guest(saying(EMPTY, LOG, once), SMALL).call(b"{}")
    assert isinstance(answer, Answer)
    assert answer.log == [EMPTY[:5]]
    flood = "(loop $again (call $log (i32.const 16) (i32.const 0x7fffffff)) (br $again))"
    limits = Limits(fuel=10_000, log_lines=3, log_line_bytes=7)
    said = refusal(saying(EMPTY, LOG, flood), limits)
    assert said.code == "OUT_OF_FUEL"
    assert [len(line) for line in said.log] == [7, 7, 7]
    outside = "(call $log (i32.const -16) (i32.const 5))"
    answer = Guest(saying(EMPTY, LOG, outside), SMALL).call(b"{}")
    assert isinstance(answer, Answer)
    assert answer.log == []


def test_each_call_has_an_instance_of_its_own() -> None:
    count = "(i32.store8 (i32.const 17) (i32.add (i32.load8_u (i32.const 17)) (i32.const 1)))"
    guest = Guest(saying("{ }", before=count), SMALL)
    first, second = guest.call(b"{}"), guest.call(b"{}")
    assert isinstance(first, Refusal)
    assert first == second
