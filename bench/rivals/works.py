"""What every contestant is asked to do: the works, their sizes and how many runs are in flight."""

from dataclasses import dataclass

CHAIN_LENGTH = 10
FAN_WIDTH = 100


@dataclass(frozen=True)
class Work:
    """One piece of work.

    ``nodes_per_run`` counts durable steps; rates and CPU are per ``unit``. ``concurrency`` is the number of
    runs in flight in the closed loop.
    """

    name: str
    unit: str
    nodes_per_run: int
    concurrency: int
    sentence: str


WORKS = {
    work.name: work
    for work in (
        Work("starts", "start", 1, 128, "durable start of a 1-step workflow, acknowledged"),
        Work("chain", "node", CHAIN_LENGTH, 128, f"{CHAIN_LENGTH} steps in a row"),
        Work("fan", "node", FAN_WIDTH + 2, 16, f"1 → {FAN_WIDTH} → 1 steps"),
    )
}
