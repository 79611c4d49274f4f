"""Where plans that were learnt outlive the process."""

from typing import Protocol


class PlanStore(Protocol):
    """Learnt plan templates, as JSON bytes under their ids.

    Promises:

    1. When ``put`` returns, the plan survives ``kill -9`` and the loss of power (the memory adapter: of nothing).
    2. A ``put`` that was cut short leaves the old plan or the new one, never a part.
    3. ``load_all`` gives every plan once, by id ascending, byte for byte as it was put.
    4. An id is 1 to 128 characters of ``A-Z a-z 0-9 _ -``; another one is a ``ValueError``.
    """

    def load_all(self) -> list[tuple[str, bytes]]:
        """(id, plan) of every stored plan. Blocks; called once, before the gateway serves."""

    async def put(self, template_id: str, plan: bytes) -> None:
        """Keep a plan, replacing the one with this id. Raises OSError where the disk refuses."""
