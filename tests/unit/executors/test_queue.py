"""Fair by tenant, then by priority, and nothing waits for ever."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from apex_fast.executors.queue import AGEING, FairQueue

ITEMS = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c"]), st.sampled_from(["high", "medium", "low", "?"])), max_size=60
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


@given(ITEMS)
def test_a_tenant_gets_its_share_while_it_has_something(items: list[tuple[str, str]]) -> None:
    queue: FairQueue[str] = FairQueue()
    queue.push([(tenant, priority, tenant) for tenant, priority in items])
    left = Counter(tenant for tenant, _ in items)
    taken: Counter[str] = Counter()
    while len(queue):
        [tenant] = queue.take(1)
        taken[tenant] += 1
        left[tenant] -= 1
        waiting = [taken[name] for name in left if left[name]]
        assert not waiting or max(taken.values()) - min(waiting) <= 1 + max(0, taken[tenant] - min(waiting))


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


@given(ITEMS, ITEMS, st.integers(0, 60))
def test_nothing_waits_longer_than_eight_turns_for_each_that_came_before(
    early: list[tuple[str, str]], late: list[tuple[str, str]], taken_between: int
) -> None:
    """The bound of ageing: with n older items of its tenant ahead, an item is taken in its next 8 * (n + 1) turns."""
    queue: FairQueue[tuple[str, int]] = FairQueue()
    turns: Counter[str] = Counter()
    waiting: dict[str, list[int]] = {"a": [], "b": [], "c": []}
    bounds: dict[tuple[str, int], int] = {}

    def push(items: list[tuple[str, str]], start: int) -> None:
        for number, (tenant, _) in enumerate(items, start):
            bounds[tenant, number] = turns[tenant] + AGEING * (len(waiting[tenant]) + 1)
            waiting[tenant].append(number)
        queue.push([(tenant, priority, (tenant, number)) for number, (tenant, priority) in enumerate(items, start)])

    def take() -> None:
        for tenant, number in queue.take(1):
            turns[tenant] += 1
            waiting[tenant].remove(number)
            assert turns[tenant] <= bounds[tenant, number]

    push(early, 0)
    for _ in range(min(taken_between, len(queue))):
        take()
    push(late, len(early))
    while len(queue):
        take()
