"""A dead letter is tried again: its run is replayed from its node on, then it leaves the list."""

import hashlib

from apex_fast.domain import DropDeadLetter, Reply
from apex_fast.errors import NotFound
from apex_fast.gateway.faults import refusal_of
from apex_fast.gateway.histories import Histories
from apex_fast.gateway.house import House


async def retry(house: House, histories: Histories, tenant: str, letter_id: str, allow_writes: bool) -> Reply:
    """The new run. Raises NotFound, and what a replay raises; then the letter stays.

    The key of the new run is made of the letter: whoever asks again before it left the list gets the same run.
    """
    engine = house.engine
    letter = await engine.dead_letter(tenant, letter_id)
    if letter is None:
        raise NotFound(
            f"there is no dead letter {letter_id} (it may have been retried or dropped)", code="DEAD_LETTER_NOT_FOUND"
        )
    view = house.run(tenant, letter.run_id)
    key = f"dead-letter:{hashlib.sha256(letter.id.encode()).hexdigest()}"
    started = await engine.call(await histories.replay(view, letter.node, False, None, allow_writes, key))
    if started.code:
        raise refusal_of(started)
    dropped = await engine.call(DropDeadLetter(tenant, letter.id, retried_as=started.run_id))
    if dropped.code and dropped.code != "DEAD_LETTER_NOT_FOUND":
        raise refusal_of(dropped)
    return started
