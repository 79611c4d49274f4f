"""One pass as a WASM module: compiled once, a fresh instance for each call, nothing imported but a log.

A call ends in an `Answer` or a `Refusal`, whatever the module does: limits on memory, fuel, time and output are
settings of the host and hold for every pass. The ABI is in `docs/formats/optimizer.md`.
"""

import contextlib
import threading
import time
from dataclasses import dataclass, field
from functools import cached_property

import msgspec
import wasmtime

from apex_fast.optimizer.patch import OptimizedPatch, Output

ABI = 1
ENTRY_POINTS = ("memory", "apex_pass_abi", "allocate", "run")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a call may use. Fuel is about one unit an instruction, the same on every machine."""

    module_bytes_max: int = 4 << 20
    memory_bytes: int = 64 << 20
    fuel: int = 2_000_000_000
    time_s: float = 2.0
    output_bytes: int = 4 << 20
    log_lines: int = 32
    log_line_bytes: int = 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """A pass that did its work: a patch, or none where it found nothing."""

    patch: OptimizedPatch | None
    log: list[str] = field(default_factory=list)
    fuel: int = 0


@dataclass(frozen=True, slots=True)
class Refusal:
    """A pass that did not. `code` is one of `MODULE_INVALID`, `ABI_UNKNOWN`, `IMPORT_REFUSED`, `OUT_OF_FUEL`,
    `OUT_OF_TIME`, `TRAPPED`, `OUTPUT_TOO_LARGE`, `OUTPUT_INVALID`, `INPUT_REFUSED`, `PATCH_INVALID`, `NOT_PROVED`."""

    code: str
    reason: str
    log: list[str] = field(default_factory=list)


class Guest:
    """A module, compiled when it is first asked for. Calls may come from any thread; one runs at a time."""

    def __init__(self, module: bytes, limits: Limits = Limits()) -> None:
        """Nothing is compiled yet."""
        self._limits = limits
        self._lock = threading.Lock()
        self._bytes = module

    @cached_property
    def _engine(self) -> wasmtime.Engine:
        return wasmtime.Engine(_config())

    @cached_property
    def _module(self) -> wasmtime.Module | Refusal:
        """Compiled, and looked at for what it imports and exports; or why it can never be called."""
        if len(self._bytes) > self._limits.module_bytes_max:
            return Refusal("MODULE_INVALID", f"the module has more than {self._limits.module_bytes_max} bytes")
        try:
            compiled = wasmtime.Module(self._engine, self._bytes)
        except wasmtime.WasmtimeError as error:
            return Refusal("MODULE_INVALID", _line(error))
        for one in compiled.imports:
            if (one.module, one.name) != ("apex", "log") or not isinstance(one.type, wasmtime.FuncType):
                return Refusal("IMPORT_REFUSED", f"it imports {one.module}.{one.name}; only apex.log is there")
        exported = {one.name for one in compiled.exports}
        missing = [name for name in ENTRY_POINTS if name not in exported]
        if missing:
            return Refusal("ABI_UNKNOWN", f"it does not export {', '.join(missing)}")
        return compiled

    def call(self, document: bytes) -> Answer | Refusal:
        """What the pass says to an input document (JSON)."""
        with self._lock:
            module = self._module
            return module if isinstance(module, Refusal) else self._run(module, document)

    def _run(self, module: wasmtime.Module, document: bytes) -> Answer | Refusal:
        limits, log = self._limits, list[str]()
        store = wasmtime.Store(self._engine)
        store.set_fuel(limits.fuel)
        store.set_epoch_deadline(1)
        store.set_limits(memory_size=limits.memory_bytes, table_elements=100_000, instances=1, tables=4, memories=1)
        # One call at a time on this engine, so its epoch is this call's clock.
        clock = threading.Timer(limits.time_s, self._engine.increment_epoch)
        clock.daemon = True
        begun = time.monotonic()
        clock.start()
        try:
            output = self._talk(store, module, document, log)
            used = limits.fuel - store.get_fuel()
        except wasmtime.Trap as trap:
            return _trapped(trap, log)
        except (wasmtime.WasmtimeError, IndexError, TypeError, ValueError, OverflowError) as error:
            return Refusal("TRAPPED", _line(error), log)
        finally:
            clock.cancel()
            # A clock that struck at the last moment must not strike the next call.
            if time.monotonic() - begun >= limits.time_s:
                clock.join()
            store.close()
        return output if isinstance(output, Refusal) else _read(output, log, used)

    def _talk(self, store: wasmtime.Store, module: wasmtime.Module, document: bytes, log: list[str]) -> bytes | Refusal:
        linked = [self._log(store, log) for _ in module.imports]
        exports = wasmtime.Instance(store, module, linked).exports(store)
        memory, calls = exports["memory"], [exports[name] for name in ENTRY_POINTS[1:]]
        if not isinstance(memory, wasmtime.Memory) or not all(isinstance(one, wasmtime.Func) for one in calls):
            return Refusal("ABI_UNKNOWN", "memory, apex_pass_abi, allocate and run are not what their names say", log)
        abi, allocate, run = (one for one in calls if isinstance(one, wasmtime.Func))
        spoken = abi(store)
        if spoken != ABI:
            return Refusal("ABI_UNKNOWN", f"it speaks version {spoken}, the host speaks {ABI}", log)
        at = allocate(store, len(document)) & 0xFFFFFFFF
        memory.write(store, document, at)
        said = run(store, _signed(at), len(document))
        place, length = (said >> 32) & 0xFFFFFFFF, said & 0xFFFFFFFF
        if length > self._limits.output_bytes:
            return Refusal("OUTPUT_TOO_LARGE", f"{length} bytes, the limit is {self._limits.output_bytes}", log)
        if place + length > memory.data_len(store):
            return Refusal("OUTPUT_INVALID", "the answer is said to stand outside of the memory", log)
        return bytes(memory.read(store, place, place + length))

    def _log(self, store: wasmtime.Store, log: list[str]) -> wasmtime.Func:
        """`apex.log(at: i32, bytes: i32)`: a line of UTF-8, cut; lines over the limit are dropped."""
        limits = self._limits

        def write(caller: wasmtime.Caller, at: int, length: int) -> None:
            memory = caller.get("memory")
            if isinstance(memory, wasmtime.Memory) and len(log) < limits.log_lines:
                start = at & 0xFFFFFFFF
                end = min(start + min(length & 0xFFFFFFFF, limits.log_line_bytes), memory.data_len(caller))
                if start < end:
                    log.append(bytes(memory.read(caller, start, end)).decode("utf-8", "replace"))

        i32 = wasmtime.ValType.i32()
        return wasmtime.Func(store, wasmtime.FuncType([i32, i32], []), write, access_caller=True)


def _config() -> wasmtime.Config:
    config = wasmtime.Config()
    config.consume_fuel = True
    config.epoch_interruption = True
    # What a pass may be is the WebAssembly of every compiler; what gives different bits on different machines is not.
    config.cranelift_nan_canonicalization = True
    config.wasm_threads = False
    config.wasm_relaxed_simd = False
    config.wasm_memory64 = False
    # Compiling takes a second or two; wasmtime keeps what it made under the user's cache folder, where there is one.
    with contextlib.suppress(wasmtime.WasmtimeError):
        config.cache = True
    return config


def _trapped(trap: wasmtime.Trap, log: list[str]) -> Refusal:
    codes = {
        wasmtime.TrapCode.OUT_OF_FUEL: ("OUT_OF_FUEL", "it used up its instructions"),
        wasmtime.TrapCode.INTERRUPT: ("OUT_OF_TIME", "it used up its time"),
    }
    known = codes.get(trap.trap_code) if trap.trap_code is not None else None
    code, reason = known or ("TRAPPED", _line(trap))
    return Refusal(code, reason, log)


def _read(output: bytes, log: list[str], fuel: int) -> Answer | Refusal:
    try:
        said = msgspec.json.decode(output, type=Output)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return Refusal("OUTPUT_INVALID", f"the answer cannot be read: {error}", log)
    if said.error is not None:
        return Refusal("INPUT_REFUSED", said.error[:1000], log)
    return Answer(said.patch, log, fuel)


def _signed(number: int) -> int:
    """An address as the signed 32 bits that WASM calls have."""
    return number - (1 << 32) if number >= 1 << 31 else number


def _line(error: Exception) -> str:
    """The last line of a message: the cause, without the addresses of the guest."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()
