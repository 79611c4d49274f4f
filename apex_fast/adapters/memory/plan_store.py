"""The plan_store port in memory: the reference."""

import re

_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")


class MemoryPlanStore:
    """Keeps promises 3 and 4 of ``ports.plan_store.PlanStore``; nothing survives the process."""

    def __init__(self) -> None:
        self._plans: dict[str, bytes] = {}

    def load_all(self) -> list[tuple[str, bytes]]:
        return sorted(self._plans.items())

    async def put(self, template_id: str, plan: bytes) -> None:
        if _ID.fullmatch(template_id) is None:
            raise ValueError(f"no plan id: {template_id!r}")
        self._plans[template_id] = plan
