"""Scenes 3 and 4: a real graph of 1,312 tasks, as fast as it goes, and through a SIGKILL."""

import asyncio
import time
from collections import Counter
from datetime import UTC, datetime

from apex_fast.cli import dags
from apex_fast.cli.demo.stage import Stage
from apex_fast.cli.process import GatewayProcess
from apex_fast.client import Client, Event, Run
from apex_fast.core import compile

TIMED_SECONDS_PER_SECOND = 0.3
"""Scene 4: a task sleeps this share of the time that it really took; the critical path is then 11 s."""
KILL_AT = 0.5
POLL_S = 0.1


def level_of(dag: dags.Dag) -> dict[str, int]:
    """Longest distance of each task from a root."""
    before: dict[str, list[str]] = {node.id: [] for node in dag.nodes}
    after: dict[str, list[str]] = {node.id: [] for node in dag.nodes}
    for source, target in dag.edges:
        before[target].append(source)
        after[source].append(target)
    missing = {name: len(sources) for name, sources in before.items()}
    ready = [name for name, count in missing.items() if not count]
    levels = dict.fromkeys(ready, 0)
    for name in ready:
        for target in after[name]:
            levels[target] = max(levels.get(target, 0), levels[name] + 1)
            missing[target] -= 1
            if not missing[target]:
                ready.append(target)
    return levels


async def measured(stage: Stage) -> None:
    """Scene 3: no-op tasks."""
    screen = stage.screen
    dag = dags.load()
    screen.scene(3, f"A real graph: {dag.name}, {dag.oracle.nodes:,} tasks, {dag.oracle.edges:,} dependencies")
    document = dags.definition(dag, dags.Task("task", 0.0), "montage")
    began = time.monotonic()
    compiled = compile(document)
    screen.fact("compiled", f"in {(time.monotonic() - began) * 1e3:.1f} ms, {compiled.hash[:23]}…")
    stage.check(compiled.levels == dag.oracle.level_widths, f"waves {compiled.levels} are those of the oracle")
    await stage.client.register(document)
    began = time.monotonic()
    run = await stage.client.start("montage")
    info = await run.ended(timeout_s=120)
    seconds = time.monotonic() - began
    stage.check(
        info.state == "COMPLETED", f"completed in {seconds * 1e3:.0f} ms: {dag.oracle.nodes / seconds:,.0f} nodes/s"
    )
    events = await run.timeline()
    stage.check(in_order(events, dag), "no task was requested before the tasks that it depends on had durable results")


def in_order(events: list[Event], dag: dags.Dag) -> bool:
    """Does each request come after the results of all its dependencies?"""
    requested = {e.payload["node"]: e.offset for e in events if e.type == "ToolCallRequested"}
    resulted = {e.payload["node"]: e.offset for e in events if e.type == "ToolResultReceived"}
    return len(resulted) == len(dag.nodes) and all(resulted[a] < requested[b] for a, b in dag.edges)


async def killed(stage: Stage, gateway: GatewayProcess) -> None:
    """Scene 4: tasks that take their time, and a gateway that dies in the middle."""
    screen = stage.screen
    dag = dags.load()
    path_s = dag.oracle.critical_path_s * TIMED_SECONDS_PER_SECOND
    screen.scene(
        4, f"The same graph with tasks that take their time ({path_s:.1f} s at best), and a SIGKILL in the middle"
    )
    timed = dags.Task("timed_task", TIMED_SECONDS_PER_SECOND)
    began = time.monotonic()
    async with Client(gateway.address) as client:
        await client.register(dags.definition(dag, timed, "montage-timed"))
        run = await client.start("montage-timed")
        share = await until(stage, run, KILL_AT)
    gateway.kill()
    killed_at, killed_time = time.monotonic(), datetime.now(UTC)
    screen.progress_end()
    screen.fact("SIGKILL", f"at {share:.0%}, {killed_at - began:.1f} s after the start")
    dead_pid_lines = len(stage.ledger())
    await gateway.start()
    screen.fact("serving", f"again after {time.monotonic() - killed_at:.2f} s")
    async with Client(gateway.address) as client:
        again = client.run(run.id)
        await until(stage, again, 1.0)
        info = await again.ended(timeout_s=120)
        events = await again.timeline()
    screen.progress_end()
    total_s = time.monotonic() - began
    stage.check(info.state == "COMPLETED", f"the run finished {total_s:.1f} s after its start ({path_s:.1f} s at best)")
    late = {line["task"] for line in stage.ledger()[dead_pid_lines:] if line.get("is") == "started"}
    durable = {
        event.payload["node"]
        for event in events
        if event.type == "ToolResultReceived" and datetime.fromisoformat(event.time) < killed_time
    }
    stage.check(not durable & late, f"none of the {len(durable):,} tasks with a durable result ran again")
    starts = Counter(line["task"] for line in stage.ledger() if line.get("is") == "started")
    keys = {(line["task"], line["key"]) for line in stage.ledger() if line.get("is") == "started"}
    repeated = [task for task, count in starts.items() if count > 1]
    stage.check(
        len(keys) == len(dag.nodes), f"{len(repeated)} tasks were in flight and ran again, each with its same key"
    )
    results = Counter(event.payload["node"] for event in events if event.type == "ToolResultReceived")
    stage.check(
        len(results) == len(dag.nodes) and set(results.values()) == {1}, f"{len(results):,} tasks, one result each"
    )


async def until(stage: Stage, run: Run, share: float) -> float:
    """Wait until this share of the run is done, with a bar; the share at the end."""
    while True:
        info = await run.info()
        done = info.percentage / 100
        stage.screen.progress(round(info.percentage), 100, "%")
        if done >= share or info.has_ended:
            return done
        await asyncio.sleep(POLL_S)
