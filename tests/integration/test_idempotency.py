"""One key, one run: at once, at either door, after the end; and one key for each attempt of a function."""

import asyncio
from collections import Counter, defaultdict
from typing import Any

import pytest
import pytest_asyncio

from apex_fast.errors import KeyReused
from tests.support.gateway import Served
from tests.support.patience import PATIENCE_S

pytestmark = pytest.mark.asyncio(loop_scope="module")

SINGLE: dict[str, Any] = {
    "name": "single",
    "version": "1",
    "nodes": [{"id": "a", "type": "function", "config": {"name": "work"}, "input": {"give": "${inputs.value}"}}],
}


@pytest_asyncio.fixture(autouse=True, scope="module", loop_scope="module")
async def single(house: Served) -> None:
    await house.client.register(SINGLE)


async def test_many_at_once(house: Served) -> None:
    async def over_http() -> str:
        body = {"workflow": "single", "inputs": {"value": 1}}
        status, answer = await house.post("/runs", body, **{"idempotency-key": "at-once"})
        assert status == 202, answer
        return str(answer["run_id"])

    async def over_grpc() -> str:
        return (await house.client.start("single", {"value": 1}, idempotency_key="at-once")).id

    asked = [over_http() if number % 2 else over_grpc() for number in range(60)]
    (run_id,) = set(await asyncio.gather(*asked))
    await house.client.run(run_id).result(PATIENCE_S)
    again = await house.client.start("single", {"value": 1}, idempotency_key="at-once")
    assert (again.id, again.existing) == (run_id, True), "also after its end"
    assert len(house.ledger.started(run_id)) == 1


async def test_in_the_body_and_in_the_header(house: Served) -> None:
    body = {"workflow": "single", "inputs": {"value": 2}}
    _, first = await house.post("/runs", {**body, "idempotency_key": "either"})
    status, second = await house.post("/runs", body, **{"idempotency-key": "either"})
    assert (status, second["run_id"], second["existing"]) == (202, first["run_id"], True)


@pytest.mark.parametrize("other", [{"value": 2}, {"value": 1, "more": None}, {"value": "1"}, {}])
async def test_another_request_with_the_key(house: Served, other: dict[str, Any]) -> None:
    await house.client.start("single", {"value": 1}, idempotency_key="taken")
    with pytest.raises(KeyReused) as refused:
        await house.client.start("single", other, idempotency_key="taken")
    assert refused.value.code == "IDEMPOTENCY_KEY_REUSED"
    body = {"workflow": "single", "inputs": other, "idempotency_key": "taken"}
    status, problem = await house.post("/runs", body)
    assert (status, problem["code"]) == (409, "IDEMPOTENCY_KEY_REUSED")


async def test_same_value_in_other_bytes_is_the_same_request(house: Served) -> None:
    bodies = [b'{"value":{"b":1,"a":[1.0,2]}}', b'{ "value" : { "a":[1.0, 2], "b":1 } }']
    runs = set()
    for inputs in bodies:
        body = b'{"workflow":"single","idempotency_key":"bytes","inputs":' + inputs + b"}"
        status, answer = await house.post("/runs", body)
        assert status == 202, answer
        runs.add(answer["run_id"])
    assert len(runs) == 1


async def test_key_of_a_run_that_failed(house: Served) -> None:
    """The same answer, not another try: the run is what the key names."""
    failing = {"id": "a", "type": "function", "config": {"name": "fail"}}
    await house.client.register({"name": "failing", "version": "1", "nodes": [failing]})
    run = await house.client.start("failing", idempotency_key="failed")
    assert (await run.ended(PATIENCE_S)).state == "FAILED"
    again = await house.client.start("failing", idempotency_key="failed")
    assert (again.id, again.existing) == (run.id, True)


async def test_no_key_no_link(house: Served) -> None:
    runs = [await house.client.start("single", {"value": 3}) for _ in range(5)]
    assert len({run.id for run in runs}) == 5


async def test_keys_of_functions(house: Served) -> None:
    """The same for each attempt of a job, another for every other job."""
    flaky = {
        "id": "flaky",
        "type": "function",
        "config": {"name": "work"},
        "input": {"fails": 3},
        "retry": {"max_attempts": 5, "initial_s": 0.01, "factor": 1.0},
    }
    items = {"id": "item", "type": "function", "config": {"name": "work"}, "input": {"fails": 1}}
    over = {"over": [1, 2, 3], "body": {"nodes": [{**items, "retry": flaky["retry"]}]}}
    nodes = [flaky, {"id": "m", "type": "map", "config": over}]
    await house.client.register({"name": "keys", "version": "1", "nodes": nodes})
    runs = [await house.client.start("keys") for _ in range(3)]
    for run in runs:
        assert (await run.ended(PATIENCE_S)).state == "COMPLETED"
    keys: dict[tuple[str, str], set[str]] = defaultdict(set)
    attempts: Counter[tuple[str, str]] = Counter()
    for entry in house.ledger.started():
        if entry.run in {run.id for run in runs}:
            keys[entry.run, entry.node].add(entry.key)
            attempts[entry.run, entry.node] += 1
    places = {"flaky": 4, "m[0].item": 2, "m[1].item": 2, "m[2].item": 2}
    assert attempts == {(run.id, node): count for run in runs for node, count in places.items()}
    assert all(len(found) == 1 for found in keys.values())
    assert len({key for found in keys.values() for key in found}) == len(keys)
