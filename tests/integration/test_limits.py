"""Bounds that a user sets hold, and the refusal names them."""

from pathlib import Path

import pytest

from apex_fast.errors import ApexError
from tests.support.gateway import served
from tests.support.patience import PATIENCE_S


async def test_a_start_over_a_limit_is_refused_by_its_name(tmp_path: Path) -> None:
    waits = {"name": "waits", "version": "1", "nodes": [{"id": "s", "type": "signal", "config": {"name": "go"}}]}
    async with served(tmp_path, {"APEX_LIMITS_RUNS_OPEN_MAX": "2", "APEX_LIMITS_IDEMPOTENCY_KEYS_MAX": "1"}) as house:
        await house.client.register(waits)
        first = await house.client.start("waits", {}, idempotency_key="one")
        with pytest.raises(ApexError) as refusal:
            await house.client.start("waits", {}, idempotency_key="two")
        assert (refusal.value.code, "idempotency_keys_max" in refusal.value.message) == ("LIMIT_EXCEEDED", True)
        await house.client.start("waits", {})
        with pytest.raises(ApexError) as refusal:
            await house.client.start("waits", {})
        assert (refusal.value.code, "runs_open_max" in refusal.value.message) == ("LIMIT_EXCEEDED", True)
        await first.signal("go")
        await first.result(PATIENCE_S)
        await house.goes_on()


async def test_dead_letters_over_their_limit_leave_oldest_first(tmp_path: Path) -> None:
    async with served(tmp_path, {"APEX_LIMITS_DEAD_LETTERS_MAX": "2"}) as house:
        fails = {
            "name": "fails",
            "version": "1",
            "nodes": [{"id": "f", "type": "function", "config": {"name": "fail"}}],
        }
        await house.client.register(fails)
        runs = [await house.client.start("fails", {}) for _ in range(3)]
        for run in runs:
            with pytest.raises(ApexError):
                await run.result(PATIENCE_S)
        listed = {letter.run_id for letter in (await house.client.dead_letters()).dead_letters}
        assert len(listed) == 2
        assert listed <= {run.id for run in runs}
