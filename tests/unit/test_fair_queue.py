"""Fair by tenant, then by priority, and nothing waits for ever."""

from hypothesis import given
from hypothesis import strategies as st

from apex_fast.fair_queue import AGEING, FairQueue

TENANTS = ("a", "b", "c")
ITEM = st.tuples(st.sampled_from(TENANTS), st.sampled_from(["high", "medium", "low", "?"]))
ITEMS = st.lists(ITEM, max_size=60)
# What comes before each take: mostly `high` of one tenant, which is who could starve the others.
STEPS = st.lists(
    st.tuples(st.lists(st.one_of(ITEM, st.just(("a", "high"))), max_size=4), st.integers(0, 3)), min_size=1, max_size=60
)


@given(ITEMS, st.lists(st.integers(1, 7), min_size=1))
def test_everything_comes_out_once(items: list[tuple[str, str]], limits: list[int]) -> None:
    queue: FairQueue[int] = FairQueue()
    queue.push([(tenant, priority, number) for number, (tenant, priority) in enumerate(items)])
    out: list[int] = []
    turn = 0
    while len(queue):
        batch = queue.take(limits[turn % len(limits)])
        assert 0 < len(batch) <= limits[turn % len(limits)]
        out += batch
        turn += 1
    assert sorted(out) == list(range(len(items)))
    assert queue.take(5) == []
    assert all(queue.count_of(tenant) == 0 for tenant in TENANTS)


@given(STEPS)
def test_no_tenant_gets_two_turns_while_another_waits_for_one(
    steps: list[tuple[list[tuple[str, str]], int]],
) -> None:
    queue: FairQueue[str] = FairQueue()
    waiting = dict.fromkeys(TENANTS, 0)
    others: dict[str, dict[str, int]] = {}
    for came, limit in [*steps, ([], 10_000)]:
        queue.push([(tenant, priority, tenant) for tenant, priority in came])
        for tenant, _ in came:
            waiting[tenant] += 1
        for _ in range(limit):
            for taken in queue.take(1):
                waiting[taken] -= 1
                others.pop(taken, None)
                for tenant in TENANTS:
                    if tenant != taken and waiting[tenant]:
                        turns = others.setdefault(tenant, {})
                        turns[taken] = turns.get(taken, 0) + 1
                        assert turns[taken] == 1, f"{taken} went twice while {tenant} waited"
            if not len(queue):
                break
        assert {tenant: queue.count_of(tenant) for tenant in TENANTS} == waiting


@given(STEPS)
def test_an_item_that_finds_k_of_its_tenant_is_taken_within_eight_times_k_plus_one_turns(
    steps: list[tuple[list[tuple[str, str]], int]],
) -> None:
    queue: FairQueue[tuple[str, int]] = FairQueue()
    turns = dict.fromkeys(TENANTS, 0)
    latest: dict[tuple[str, int], int] = {}
    number = 0
    for came, limit in [*steps, ([], 10_000)]:
        for tenant, priority in came:
            number += 1
            latest[tenant, number] = turns[tenant] + AGEING * (queue.count_of(tenant) + 1)
            queue.push([(tenant, priority, (tenant, number))])
        for item in queue.take(limit):
            turns[item[0]] += 1
            assert turns[item[0]] <= latest.pop(item)
    assert latest == {}


def test_a_big_tenant_does_not_hold_up_a_small_one() -> None:
    queue: FairQueue[str] = FairQueue()
    queue.push([("big", "high", "big")] * 10_000)
    queue.push([("small", "low", "small")] * 3)
    assert queue.take(6).count("small") == 3


def test_priority_within_a_tenant_and_ageing() -> None:
    queue: FairQueue[str] = FairQueue()
    queue.push([("t", "low", "low")])
    queue.push([("t", "high", "high")] * 100)
    first = queue.take(AGEING)
    assert first[: AGEING - 1] == ["high"] * (AGEING - 1)
    assert first[AGEING - 1] == "low"
