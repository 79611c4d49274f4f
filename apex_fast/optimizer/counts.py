"""What came of the passes, in numbers, and a line of the log for what was refused."""

import logging
from collections import Counter

from apex_fast.optimizer.guest import Refusal
from apex_fast.optimizer.optimize import Step

log = logging.getLogger(__name__)

PASSES_MAX = 100
OTHER = "other"


class Counts:
    """`outcomes`: (pass, outcome, code) to how often. A pass beyond the first 100 counts as `other`."""

    def __init__(self) -> None:
        self.outcomes: Counter[tuple[str, str, str]] = Counter()
        self._names: set[str] = set()

    def asked(self, step: Step) -> None:
        """A pass proposed something that was proved, or was refused."""
        if isinstance(step.outcome, Refusal):
            self.refused(step.name, step.hash, step.outcome.code)
        else:
            self.count(step.name, "proposed")

    def refused(self, name: str, digest: str, code: str, run_id: str = "") -> None:
        """Nothing of a proposal was taken: by the host, or by a gate of the run."""
        self.count(name, "refused", code)
        extra = {"pass": name, "hash": digest, "code": code, **({"run": run_id} if run_id else {})}
        log.info("a proposal of a pass was refused", extra=extra)

    def applied(self, name: str, digest: str, where: dict[str, str]) -> None:
        """A patch is in force."""
        self.count(name, "applied")
        log.info("a patch of a pass was applied", extra={"pass": name, "hash": digest, **where})

    def count(self, name: str, outcome: str, code: str = "") -> None:
        """Count one."""
        if name not in self._names:
            name = name if len(self._names) < PASSES_MAX else OTHER
            self._names.add(name)
        self.outcomes[name, outcome, code] += 1
