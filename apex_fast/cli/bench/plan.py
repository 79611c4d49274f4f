"""What a benchmark is told, and the rounds that all of them share."""

import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from apex_fast.cli.bench.measurement import Measurement, Round, medians


@dataclass(frozen=True)
class Plan:
    """``seconds`` of measuring for each measurement, in ``rounds`` laps. ``size``: 0 for the benchmark's own."""

    folder: Path
    seconds: float
    rounds: int
    size: int = 0

    @property
    def lap_s(self) -> float:
        """Length of a lap."""
        return self.seconds / self.rounds

    @property
    def limit_lap_s(self) -> float:
        """Length of a lap of a limit: it needs less to be known."""
        return min(1.0, self.lap_s)

    async def interleaved(
        self,
        sides: Sequence[Callable[[], Awaitable[Measurement]]],
        limits: Mapping[str, Sequence[str]],
    ) -> list[Measurement]:
        """A B C, A B C, …: each side once in each round; the medians, held against the limits among them."""
        rounds: list[Round] = []
        for number in range(1, self.rounds + 1):
            say(f"round {number} of {self.rounds}")
            rounds.append([])
            for side in sides:
                found = await side()
                say(f"  {found.name}: {found.rate_per_s:,.0f} {found.unit}s a second")
                rounds[-1].append(found)
        return medians(rounds, limits)


def say(sentence: str) -> None:
    """Progress, for the person who waits; standard output is for the result."""
    print(sentence, file=sys.stderr, flush=True)
