"""`passes`: the optimizer's passes as WASM asked about one definition in which each finds something.

What is timed is a call: a fresh instance of the compiled module, the question in, the answer out and read.
`compile_ms` is what a module takes to be compiled, or found in the cache, once for a process; `fuel` about
the instructions of a call. Where `cargo build --release --manifest-path wasm-passes/Cargo.toml -p proof` has built the
same passes for this machine itself, they are timed on the same question beside it.
"""

import asyncio
import json
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from apex_fast.cli.bench import workflows
from apex_fast.cli.bench.measurement import Measurement, of_calls, quantile
from apex_fast.cli.bench.plan import Plan
from apex_fast.core import compile as compile_definition
from apex_fast.optimizer import Answer, Found, PassFolder
from apex_fast.optimizer.optimize import question

NODES: Final = 1_000
NATIVE: Final = Path(__file__).parents[3] / "wasm-passes" / "target" / "release" / "native"


async def timed(names: list[str], name: str, asked: bytes, nodes: int, seconds: float) -> Measurement:
    """Ask each of the passes, compiled anew, one after the other for ``seconds``, three times at the least."""
    passes = [one for one in PassFolder().passes() if one.name in names]
    times_s: list[float] = []
    first = time.perf_counter()
    fuel = sum(_fuel(one, asked) for one in passes)
    first_s = time.perf_counter() - first
    begin, begin_cpu_s = time.perf_counter(), time.process_time()
    while len(times_s) < 3 or time.perf_counter() - begin < seconds:
        called = time.perf_counter()
        for one in passes:
            one.guest.call(asked)
        times_s.append(time.perf_counter() - called)
    cpu_s = time.process_time() - begin_cpu_s
    compile_s = max(first_s - quantile(sorted(times_s), 0.5), 0.0)
    took_s = time.perf_counter() - begin
    return of_calls(name, "node", nodes, times_s, took_s, cpu_s, fuel=float(fuel), compile_ms=compile_s * 1e3)


async def native(names: list[str], name: str, asked: bytes, nodes: int, seconds: float) -> Measurement:
    """The same code without WASM: the sum of what each takes, one after the other."""
    begin = time.perf_counter()
    laps: list[list[float]] = []
    for one in names:
        words = [str(NATIVE), one, str(seconds / len(names))]
        done = await asyncio.to_thread(subprocess.run, words, input=asked, capture_output=True, check=True)
        laps.append(sorted(json.loads(done.stdout)))
    times_s = [sum(quantile(lap, share / 100) for lap in laps) for share in range(100)]
    return of_calls(name, "node", nodes, times_s, time.perf_counter() - begin, None)


def _fuel(one: Found, asked: bytes) -> int:
    answer = one.guest.call(asked)
    if not isinstance(answer, Answer):
        raise TypeError(f"{one.name} {answer.code}: {answer.reason}")
    return answer.fuel


async def measure(plan: Plan) -> list[Measurement]:
    """All passes one after the other, and each by itself."""
    nodes = plan.size or NODES
    asked = question(compile_definition(workflows.wasteful(nodes)))
    sides: list[Callable[[], Any]] = []
    held: dict[str, tuple[str, ...]] = {}
    names = [one.name for one in PassFolder().passes()]
    for of, chosen in {"passes": names, **{f"passes.{name}": [name] for name in names}}.items():
        share_s = plan.limit_lap_s if of == "passes" else plan.limit_lap_s / 4
        sides.append(partial(timed, chosen, of, asked, nodes, share_s))
        if NATIVE.exists():
            beside = of.replace("passes", "native", 1)
            sides.append(partial(native, chosen, beside, asked, nodes, share_s))
            held[of] = (beside,)
    return await plan.interleaved(sides, held)
