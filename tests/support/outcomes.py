"""What each attempt of each job comes to: fixed by a seed, whatever the order in which they are asked for."""

from dataclasses import dataclass
from random import Random

from tests.oracle.interpreter import Outcome

HANGS = Outcome("hangs")
"""No result until the job is cancelled; only where a time limit ends the attempt."""


@dataclass(frozen=True)
class Outcomes:
    """`trouble`: the share of attempts that do not end well."""

    seed: int
    trouble: float = 0.2

    def of(self, instance: str, attempt: int, may_hang: bool) -> Outcome:
        """`instance` of a compensation ends in `/undo`."""
        dice = Random(f"{self.seed}/{instance}/{attempt}")
        if dice.random() >= self.trouble:
            number = dice.randrange(6)
            items = [dice.randrange(10) for _ in range(dice.randrange(4))]
            return Outcome("ok", {"n": number, "b": dice.random() < 0.5, "l": items})
        kind = dice.randrange(8)
        if kind == 0:
            return Outcome("timeout", type="Timeout")
        if kind == 1 and may_hang:
            return HANGS
        return Outcome(
            "error", type=dice.choice(["Flaky", "Flaky", "Fatal"]), retryable=dice.choice([None, None, True, False])
        )

    def approves(self, instance: str) -> bool:
        """What a person says."""
        return Random(f"{self.seed}/{instance}/approval").random() < 0.7
