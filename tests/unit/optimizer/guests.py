"""Guests written by hand, in the text form of WebAssembly."""

import wasmtime

from apex_fast.optimizer import Limits
from tests.support.patience import PATIENCE_S

EMPTY = '{"patch": null}'
UNHURRIED = Limits(time_s=PATIENCE_S)
"""A call ends by fuel, however busy the machine is."""


def module(body: str, imports: str = "", memory: str = '(memory (export "memory") 2)') -> bytes:
    """A module of the parts given."""
    return bytes(wasmtime.wat2wasm(f"(module {imports} {memory} {body})"))


def speaking(run: str, data: str = "", imports: str = "", abi: int = 1, allocate: str = "(i32.const 4096)") -> bytes:
    """A module that speaks the ABI and whose `run` is this body (parameters $at and $bytes, gives i64)."""
    return module(
        f"""
        {data}
        (func (export "apex_pass_abi") (result i32) (i32.const {abi}))
        (func (export "allocate") (param $bytes i32) (result i32) {allocate})
        (func (export "run") (param $at i32) (param $bytes i32) (result i64) {run})
        """,
        imports,
    )


def saying(text: str, imports: str = "", before: str = "") -> bytes:
    """A module that answers with this text, whatever it is asked."""
    written = "".join(f"\\{byte:02x}" for byte in text.encode())
    length = len(text.encode())
    return speaking(f"{before} (i64.const {(16 << 32) | length})", f'(data (i32.const 16) "{written}")', imports)
