"""From a log to a machine that stands where the last owner's stood."""

import logging
import time

from apex_fast.domain import Machine
from apex_fast.ports.event_log import History

log = logging.getLogger(__name__)


def recover(event_log: History, partitions: int, limits: dict[str, int], fidelity: str = "full") -> Machine:
    """Fold snapshot and records into a machine. Raises CoreError naming the position of a record it can't read."""
    began = time.monotonic()
    if event_log.snapshot is not None:
        position, state = event_log.snapshot
        machine = Machine.restore(state, event_log.term, partitions, limits, fidelity)
    else:
        position = 0
        machine = Machine(partitions, event_log.term, limits, fidelity)
    start = position
    for first, records in event_log.scan(start):
        position = machine.apply(first, records)
    if position > start or start:
        log.info(
            "recovered",
            extra={"records": position, "replayed": position - start, "seconds": time.monotonic() - began},
        )
    return machine
