"""What waits to be decided: lanes, bounds, and shares of tenants."""

from hypothesis import given
from hypothesis import strategies as st

from apex_fast.domain import ReplayRun, StartRun, Tick
from apex_fast.engine.inbox import Inbox


def start(tenant: str, priority: str = "medium") -> StartRun:
    return StartRun(tenant, "w", priority=priority)


def tokens(inbox: Inbox) -> list[int]:
    return [token for token, _ in inbox.take()]


def test_control_goes_before_starts_and_starts_that_fit_a_turn_in_order() -> None:
    inbox = Inbox(100, 1 << 20, 10)
    for token, priority in enumerate(["low", "high", "medium"], start=1):
        assert inbox.start(token, start("a", priority), 10)
    inbox.control(9, Tick())
    assert tokens(inbox) == [9, 1, 2, 3]
    assert len(inbox) == 0


def test_what_does_not_fit_a_turn_is_fair_by_tenant_and_priority() -> None:
    inbox = Inbox(1_000, 1 << 20, 4)
    for token in range(1, 101):
        assert inbox.start(token, start("big", "low" if token < 50 else "high"), 1)
    assert inbox.start(101, start("small", "low"), 1)
    assert tokens(inbox) == [1, 2, 3, 4], "what fits into the next turn is not put off"
    second = tokens(inbox)
    assert 101 in second, "the small tenant is in the next turn, before 96 others"
    assert [token for token in second if token != 101] == [50, 51, 52]


def test_a_replay_waits_among_the_starts_of_its_tenant() -> None:
    inbox = Inbox(1_000, 1 << 20, 1)
    origin = "01890a5d-ac96-774b-bcce-b302099a8057"
    for token in range(1, 10):
        assert inbox.start(token, start("big"), 1)
    assert inbox.start(10, ReplayRun("small", origin, b""), 1)
    assert [tokens(inbox), 10 in tokens(inbox) + tokens(inbox)] == [[1], True]


def test_one_tenant_leaves_places_for_others() -> None:
    inbox = Inbox(1_000, 1 << 20, 10)
    taken = {tenant: sum(inbox.start(0, start(tenant), 1) for _ in range(2_000)) for tenant in ("a", "b", "c")}
    assert taken["a"] >= 790
    assert all(taken.values()), taken
    assert inbox.start(0, start("late"), 1)


@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 40)), max_size=80), st.integers(1, 5))
def test_what_is_taken_in_comes_out_once_within_the_bounds(came: list[tuple[str, int]], per_turn: int) -> None:
    inbox = Inbox(20, 200, per_turn)
    accepted, out, held = [], [], 0
    for token, (tenant, size) in enumerate(came, start=1):
        if inbox.start(token, start(tenant), size):
            accepted.append(token)
            held += size
            assert len(inbox) <= 20
            assert held <= 200 or len(inbox) == 1
        elif token % 2:
            taken = tokens(inbox)
            assert len(taken) <= per_turn
            out += taken
            held -= sum(came[token - 1][1] for token in taken)
    while len(inbox):
        out += tokens(inbox)
    assert sorted(out) == accepted
    assert tokens(inbox) == []
