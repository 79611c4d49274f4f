"""Invariants 1 to 6 and 10 of the architecture, each with a property; `World` and `Judge` check most at every turn."""

import json
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from apex_fast.core import JobResult, Machine, Reply, StartRun, Tick, compile
from tests.oracle.alone import run_alone
from tests.oracle.expressions import ABSENT
from tests.support.definitions import chain, definition, fan, node
from tests.support.driver import EPOCH_NS, TENANT, World, happening, packed
from tests.support.examples import examples
from tests.support.graphs import Case, Features, cases
from tests.support.outcomes import Outcomes
from tests.support.records import check_records, header
from tests.unit.machine.worlds import begin, live, submit

# --- what runs come to ----------------------------------------------------------------------------------------------


@examples(480)
@given(cases())
def test_machine_does_what_the_oracle_allows(case: Case) -> None:
    """Every event is one that the oracle allows, says what the oracle computes, and none is missing."""
    live(case, cancels=0.02)


@examples(240)
@given(cases(Features(racing=False)))
def test_end_does_not_depend_on_the_order_of_results(case: Case) -> None:
    """Without races the oracle alone, in its own order, comes to the same end by the same jobs."""
    alone = run_alone(case.definition, case.inputs, case.outcomes.of, case.outcomes.approves)
    world = live(case, punctual=True)
    [judge] = world.judges.values()
    run = judge.interpreter
    assert run.state == alone.state, f"{run.failure} and {alone.failure}\n{judge.tail()}"
    if alone.state != "COMPLETED":
        return
    assert timeless(run.output) == timeless(alone.output)
    assert sorted(run.requests) == sorted(alone.requests)
    told = {name: (verdict.status, timeless(verdict.output)) for name, verdict in run.verdicts.items()}
    assert told == {name: (verdict.status, timeless(verdict.output)) for name, verdict in alone.verdicts.items()}


def timeless(value: object) -> object:
    """A value without the times in it: those do depend on the order."""
    if isinstance(value, dict):
        return {key: None if key == "fired_at" else timeless(item) for key, item in value.items()}
    return [timeless(item) for item in value] if isinstance(value, list) else value


# --- invariant 1 ----------------------------------------------------------------------------------------------------


@examples(160)
@given(cases(Features(nodes_max=12)), st.integers(0, 2**32 - 1))
def test_1_no_action_before_its_events_are_durable(case: Case, seed: int) -> None:
    """With durability far behind, each position releases what its records ask for and nothing else."""
    dice = Random(seed)
    world = begin(case, cancels=0.02)
    while world.open_judges() and world.turns < 3_000:
        before = world.durable, len(world.jobs_seen), len(world.ended)
        world.advance(world.durable)
        assert before == (world.durable, len(world.jobs_seen), len(world.ended)), "the same position releases once"
        if world.durable < len(world.records) and dice.random() < 0.7:
            world.advance(world.durable + 1)
        else:
            world.act()
    world.run_to_end()


def test_1_nothing_is_released_for_what_is_not_durable() -> None:
    machine = Machine(partitions=1)
    compiled = compile(chain(2))
    world = World(1)
    world.register(json.loads(chain(2)))
    machine.apply(0, packed(world.records))
    position = len(world.records)
    turn = machine.step(EPOCH_NS, [(7, StartRun(TENANT, compiled.name))])
    assert turn.position == position + 2
    for durable in range(position + 2):
        jobs, cancels, replies, ended = machine.advance(durable)
        assert (jobs, cancels, ended) == ([], [], [])
        assert [reply.token for reply in replies] == ([7] if durable == position + 1 else []), durable
    jobs, *_ = machine.advance(turn.position)
    assert [job.node for job in jobs] == ["s0"]


def test_1_a_cancel_waits_for_the_event_that_asks_for_it() -> None:
    """A time limit ends an attempt: its executor hears of that when the event is durable, and not before."""
    machine, position = Machine(partitions=1), 0
    document = json.loads(definition("slow", [node("a", timeout_s=1), node("b")]))
    world = World(1)
    world.register(document)
    position = machine.apply(0, packed(world.records))
    turn = machine.step(EPOCH_NS, [(1, StartRun(TENANT, "slow"))])
    jobs, *_ = machine.advance(turn.position)
    position = turn.position
    turn = machine.step(EPOCH_NS + 2_000_000_000, [(0, Tick())])
    assert turn.count >= 1
    assert machine.advance(position)[1] == []
    assert machine.advance(turn.position)[1] == [job.id for job in jobs if job.node == "a"] + [
        job.id for job in jobs if job.node == "b"
    ]


# --- invariant 2 ----------------------------------------------------------------------------------------------------


@examples(120)
@given(cases(Features(nodes_max=12)))
def test_2_replay_gives_the_same_state_at_every_prefix(case: Case) -> None:
    """Where a turn ended, the bytes of the live snapshot; after any record, those of a snapshot plus the rest."""
    snapshots: dict[int, bytes] = {0: Machine(partitions=4).snapshot()}

    def remember(world: World) -> None:
        snapshots[len(world.records)] = world.machine.snapshot()

    world = begin(case, cancels=0.02, on_turn=remember)
    world.run_to_end()
    replayed, restored = Machine(partitions=4), Machine.restore(snapshots[0], 1, 4)
    assert replayed.snapshot() == snapshots[0]
    for position, body in enumerate(world.records):
        assert replayed.apply(position, packed([body])) == position + 1
        restored.apply(position, packed([body]))
        state = replayed.snapshot()
        if position + 1 in snapshots:
            assert state == snapshots[position + 1], f"replay differs from what lived at position {position + 1}"
        assert restored.snapshot() == state, f"a snapshot and the rest differ from replay at position {position + 1}"
        if position % 3 == 0:
            restored = Machine.restore(state, 1, 4)
            assert restored.snapshot() == state


@examples(48)
@given(cases(Features(nodes_max=7)))
def test_2_every_prefix_goes_on_to_a_correct_end(case: Case) -> None:
    world = live(case, cancels=0.02)
    whole = list(world.records)
    for kept in range(2, len(whole) + 1, 1 + len(whole) // 40):
        again = World(case.seed + kept)
        again.starts = {1: world.starts[1]}
        again.records = whole[:kept]
        again.durable = kept
        again.crash()
        again.run_to_end()
        check_records(again.records)


# --- invariant 3 ----------------------------------------------------------------------------------------------------


@examples(100)
@given(st.lists(cases(Features(nodes_max=8)), min_size=2, max_size=4), st.integers(1, 8))
def test_3_positions_are_dense_and_records_chained(drawn: list[Case], partitions: int) -> None:
    """Several runs in several partitions: no hole in any sequence, offset or chain."""
    world = World(drawn[0].seed, partitions=partitions, cancels=0.02)
    for number, case in enumerate(drawn):
        named = Case({**case.definition, "name": f"w{number}"}, case.inputs, case.outcomes, case.seed)
        world.register(named.definition)
        submit(world, named)
    world.run_to_end()
    check_records(world.records)
    assert {header(body).partition for body in world.records} <= set(range(partitions))


# --- invariant 4 ----------------------------------------------------------------------------------------------------


@examples(160)
@given(cases(Features(nodes_max=12)))
def test_4_stale_results_change_nothing(case: Case) -> None:
    """Duplicates, contradictions, other attempts, unknown jobs: no record, and not a byte of the state."""

    def give_stale(world: World) -> None:
        if stale := world.stale():
            before = world.machine.snapshot()
            turn = world.machine.step(world.now_ns, [(0, result) for result in stale])
            assert (turn.count, turn.more, turn.records()) == (0, False, b"")
            assert world.machine.snapshot() == before

    begin(case, on_turn=give_stale).run_to_end()


@examples(100)
@given(cases(Features(nodes_max=6)), st.integers(0, 2**32 - 1))
def test_4_the_same_key_gives_the_same_run(case: Case, seed: int) -> None:
    """However often, whenever, also after a crash, also after its end."""
    dice = Random(seed)
    world = begin(case, lag=False)
    [run_id] = world.judges
    steps = 0
    going_on = True
    while going_on:
        going_on = world.act()
        steps += 1
        if dice.random() < 0.3 or not going_on:
            reply = ask(world, 1_000 + steps, world.start_command(1))
            assert (reply.code, reply.run_id, reply.existing) == ("", run_id, True)
            other = StartRun(TENANT, "drawn", inputs=b'{"n":77}', idempotency_key="key-1")
            assert ask(world, 2_000 + steps, other).code == "IDEMPOTENCY_KEY_REUSED"
        if going_on and dice.random() < 0.1:
            world.crash()
    assert list(world.judges) == [run_id]


def ask(world: World, token: int, command: StartRun) -> Reply:
    before = len(world.records)
    turn = world.machine.step(world.now_ns, [(token, command)])
    assert turn.count == 0
    assert len(world.records) == before
    [reply] = world.machine.advance(world.durable)[2]
    assert reply.token == token
    return reply


# --- invariant 5 ----------------------------------------------------------------------------------------------------


@examples(160)
@given(cases(Features(nodes_max=20, waits=False, maps=False, loops=False)))
def test_5_a_join_fires_once_and_a_run_ends_exactly_then(case: Case) -> None:
    """The judge has seen each start; here they are counted in the records. The last event of a run is its one end."""
    world = live(case)
    [run_id] = world.judges
    happened = [happening(at, body) for at, body in enumerate(world.records) if any(header(body).run_id)]
    requested = [(h.payload["node"], h.payload["attempt"]) for h in happened if h.type == "ToolCallRequested"]
    assert len(requested) == len(set(requested))
    decided = [h.payload["node"] for h in happened if decides(h.type, h.payload)]
    assert len(decided) == len(set(decided))
    ends = [h.type for h in happened if h.type in ("WorkflowCompleted", "WorkflowFailed")]
    assert len(ends) == 1
    assert happened[-1].type == ends[0]
    if ends == ["WorkflowCompleted"]:
        assert sorted(decided) == sorted(each["id"] for each in case.definition["nodes"])
    assert world.machine.counts()["jobs_in_flight"] == 0, run_id


def decides(kind: str, payload: dict[str, object]) -> bool:
    return kind == "NodeSkipped" or (kind == "ToolResultReceived" and not payload.get("retry"))


# --- invariant 6 ----------------------------------------------------------------------------------------------------


@examples(160)
@given(cases(Features(nodes_max=15, slips=False), trouble=0.4))
def test_6_compensation_is_complete_in_order_and_goes_on(case: Case) -> None:
    """Read from the records alone: after the last result, newest first, one at a time, all that is to be undone."""
    world = live(case, cancels=0.05)
    happened = [happening(at, body) for at, body in enumerate(world.records) if any(header(body).run_id)]
    at_result: dict[str, int] = {}
    effects: dict[str, tuple[str, bool]] = {}
    to_undo: set[str] = set()
    open_jobs: set[str] = set()
    undoing: list[str] = []
    current = ""
    for h in happened:
        name = str(h.payload.get("node", ""))
        if h.type == "ToolCallRequested":
            assert not undoing
            effects[name] = (h.payload["effect"], bool(h.payload.get("compensation")))
            open_jobs.add(name)
        elif h.type == "ToolResultReceived" and name in effects:
            open_jobs.discard(name)
            at_result[name] = h.offset
            effect, has_compensation = effects[name]
            may_have_happened = h.payload["status"] == "ok" or (h.payload.get("unknown") and effect == "write")
            if has_compensation and may_have_happened:
                to_undo.add(name)
        elif h.type == "CompensationRequested":
            assert not open_jobs, "something is still in flight"
            assert current in ("", name), "one at a time"
            if current == "":
                undoing.append(name)
            current = name
        elif h.type == "CompensationCompleted":
            if current == "":
                assert not h.payload["success"], "given up: the time for compensation is over"
                undoing.append(name)
            assert current in ("", name)
            current = ""
    end = happened[-1]
    if end.type == "WorkflowCompleted":
        assert not undoing
        return
    if any(h.type == "RunCancelled" and not h.payload["compensate"] for h in happened):
        assert not undoing
        return
    assert sorted(undoing, key=lambda name: -at_result[name]) == undoing
    assert set(undoing) == to_undo
    assert end.payload["compensation_executed"] == bool(undoing)
    assert [step["step_id"] for step in end.payload["compensation_results"]] == undoing


# --- crashes --------------------------------------------------------------------------------------------------------


@examples(240)
@given(st.lists(cases(Features(nodes_max=14)), min_size=1, max_size=2), st.integers(0, 2**32 - 1))
def test_a_run_survives_crashes(drawn: list[Case], seed: int) -> None:
    """At any turn the process dies; the log keeps all that was acknowledged and any part of the rest."""
    dice = Random(seed)
    world = World(seed, cancels=0.02)
    for number, case in enumerate(drawn):
        named = Case({**case.definition, "name": f"w{number}"}, case.inputs, case.outcomes, case.seed)
        world.register(named.definition)
        world.advance(len(world.records))
        submit(world, named)
    crashes = 0
    going_on = True
    while going_on:
        going_on = world.act()
        assert world.turns < 5_000
        if going_on and crashes < 6 and dice.random() < 0.15:
            crash_and_compare(world)
            crashes += 1
    check_records(world.records)
    assert world.ended.keys() == world.judges.keys()


def crash_and_compare(world: World) -> None:
    """No job whose result was kept is handed out again; the others are, with the key they had."""
    keys = {(run_id, instance, attempt): key for run_id, instance, attempt, key in world.jobs_seen}
    seen = len(world.jobs_seen)
    world.crash()
    for run_id, instance, attempt, key in world.jobs_seen[seen:]:
        assert keys.get((run_id, instance, attempt), key) == key


# --- invariant 10 ---------------------------------------------------------------------------------------------------


@examples(160)
@given(cases(Features(nodes_max=12)), st.integers(1, 9), st.integers(200, 3_000))
def test_10_turns_are_bounded(case: Case, events_max: int, bytes_max: int) -> None:
    """With tiny turns the same things happen, a few at a time."""
    limits = {"events_per_turn_max": events_max, "bytes_per_turn_max": bytes_max, "events_per_visit_max": 2}
    live(case, limits=limits, cancels=0.02)


def test_10_a_turn_holds_no_more_events_than_its_bound() -> None:
    case = Case(json.loads(fan(200)), {}, Outcomes(0, 0.0), 3)
    world = begin(case, limits={"events_per_turn_max": 8, "events_per_visit_max": 4}, lag=False)
    [first] = world.handed.values()
    turn = world.machine.step(world.now_ns, [(0, JobResult.ok(first.id, 1, b"1"))])
    counts = [turn.count]
    while turn.more:
        turn = world.machine.step(world.now_ns, [])
        counts.append(turn.count)
    assert sum(counts) == 201
    assert max(counts) <= 8 + 4, "the bound, and what one visit may make beyond it"


def outcome_of_limit(limits: dict[str, int], document: bytes, inputs: object = None) -> Reply:
    world = begin(Case(json.loads(document), {}, Outcomes(0, 0.0), 5), limits=limits, lag=False)
    given_inputs = None if inputs is None else json.dumps(inputs).encode()
    turn = world.machine.step(world.now_ns, [(9, StartRun(TENANT, json.loads(document)["name"], inputs=given_inputs))])
    [reply] = world.machine.advance(turn.position)[2]
    return reply


def test_10_limits_are_clear_errors() -> None:
    reply = outcome_of_limit({"runs_open_max": 1}, chain(1))
    assert reply.code == "LIMIT_EXCEEDED"
    assert "runs_open_max" in reply.message
    reply = outcome_of_limit({"inputs_bytes_max": 20}, chain(1), {"text": "x" * 100})
    assert reply.code == "LIMIT_EXCEEDED"
    assert "inputs_bytes_max" in reply.message


def test_10_a_result_over_its_bound_fails_its_node() -> None:
    case = Case(json.loads(chain(1)), {}, Outcomes(0, 0.0), 0)
    world = begin(case, limits={"result_bytes_max": 10}, lag=False)
    [job] = world.handed.values()
    turn = world.machine.step(world.now_ns, [(0, JobResult.ok(job.id, 1, json.dumps("x" * 50).encode()))])
    world.machine.advance(turn.position)
    view = world.machine.run(TENANT, job.run_id)
    assert view is not None
    assert view.state == "FAILED"
    assert view.error is not None
    assert json.loads(view.error)["type"] == "LimitExceeded"
    assert "result_bytes_max" in json.loads(view.error)["message"]


@examples(100)
@given(cases(Features(nodes_max=10)), st.integers(1, 2))
def test_10_items_over_their_bound_fail_the_map(case: Case, items_max: int) -> None:
    live(case, limits={"items_max": items_max})


def test_an_output_that_is_absent_is_no_output() -> None:
    """The oracle's mark never leaves it."""
    case = Case(json.loads(definition("one", [node("a", on_error="continue")])), {}, Outcomes(1, 1.0), 1)
    world = live(case)
    [judge] = world.judges.values()
    assert judge.interpreter.verdicts["a"].output is ABSENT
    assert judge.interpreter.output == {}
