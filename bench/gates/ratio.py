"""Two sides by turns, the quickest round of each: what a neighbour takes away is never in the quickest.

A round is as many calls as take `ROUND_S`. One call of a millisecond would show how cold the caches are that a
neighbour, or the other side, left behind: on a busy machine a ratio of 0.39 was measured as anything from 0.37 to 0.70,
and as 0.38 to 0.40 in rounds of this length.
"""

import math
import time
from collections.abc import Callable
from typing import Final

from pytest_benchmark.fixture import BenchmarkFixture

ROUND_S: Final = 0.02


def cpu_ratio(
    benchmark: BenchmarkFixture, ours: Callable[[], object], theirs: Callable[[], object], rounds: int = 7
) -> float:
    """CPU time of this process for ``ours`` over that for ``theirs``; both figures are kept with the benchmark's."""
    ours_s: list[float] = []
    theirs_s: list[float] = []
    our_calls, their_calls = calls_of(ours), calls_of(theirs)

    def timed(work: Callable[[], object], calls: int, times_s: list[float]) -> None:
        times_s.append(cpu_s(work, calls) / calls)

    benchmark.pedantic(  # type: ignore[no-untyped-call]
        timed,
        args=(ours, our_calls, ours_s),
        setup=lambda: timed(theirs, their_calls, theirs_s),
        rounds=rounds,
        warmup_rounds=1,
    )
    ratio = min(ours_s) / min(theirs_s)
    benchmark.extra_info.update(ours_s=min(ours_s), theirs_s=min(theirs_s), ratio=ratio)
    return ratio


def cpu_s(work: Callable[[], object], calls: int) -> float:
    """CPU time of this process for so many calls."""
    begin_s = time.process_time()
    for _ in range(calls):
        work()
    return time.process_time() - begin_s


def calls_of(work: Callable[[], object]) -> int:
    """How many calls are a round; the first one warms up."""
    work()
    return math.ceil(ROUND_S / max(cpu_s(work, 1), 1e-6))
