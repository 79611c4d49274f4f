"""Two sides by turns, the quickest round of each: what a neighbour takes away is never in the quickest."""

import time
from collections.abc import Callable

from pytest_benchmark.fixture import BenchmarkFixture


def cpu_ratio(
    benchmark: BenchmarkFixture, ours: Callable[[], object], theirs: Callable[[], object], rounds: int = 7
) -> float:
    """CPU time of this process for ``ours`` over that for ``theirs``; both figures are kept with the benchmark's."""
    ours_s: list[float] = []
    theirs_s: list[float] = []

    def timed(work: Callable[[], object], times_s: list[float]) -> None:
        begin_s = time.process_time()
        work()
        times_s.append(time.process_time() - begin_s)

    benchmark.pedantic(  # type: ignore[no-untyped-call]
        timed, args=(ours, ours_s), setup=lambda: timed(theirs, theirs_s), rounds=rounds, warmup_rounds=1
    )
    ratio = min(ours_s) / min(theirs_s)
    benchmark.extra_info.update(ours_s=min(ours_s), theirs_s=min(theirs_s), ratio=ratio)
    return ratio
