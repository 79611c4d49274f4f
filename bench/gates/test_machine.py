"""Deciding: a durable node costs the machine less than Python pays to spell a record of it."""

import asyncio
import json
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from apex_fast.cli.bench import workflows
from apex_fast.cli.bench.history import Writer
from apex_fast.cli.bench.replay import recovered, scanned
from apex_fast.core import compile
from apex_fast.domain import Command, JobResult, Machine, RegisterWorkflow, StartRun
from bench.gates.ratio import cpu_ratio

RUNS = 200
TENANT = "default"


def decide(document: bytes, name: str, runs: int) -> int:
    """Runs through a machine, from start to end, with jobs that succeed at once; the number of jobs."""
    machine = Machine()
    commands: list[tuple[int, Command]] = [(0, RegisterWorkflow(TENANT, compile(document).canonical, "main"))]
    commands += [(0, StartRun(TENANT, name)) for _ in range(runs)]
    done, now_ns = 0, 1_700_000_000_000_000_000
    while commands:
        more = True
        position = 0
        while more:
            turn = machine.step(now_ns, commands)
            commands, more, position = [], turn.more, turn.position
        jobs = machine.advance(position)[0]
        done += len(jobs)
        commands = [(0, JobResult.ok(job.id, job.attempt, b"null")) for job in jobs]
        now_ns += 1_000_000
    return done


def spell(nodes: int) -> None:
    """One record a node, as JSON."""
    for node in range(nodes):
        json.dumps({"run": "0199", "type": "ToolResultReceived", "node": f"n{node}", "value": None, "time_ns": node})


@pytest.mark.parametrize(
    ("name", "document", "nodes"),
    [
        ("chain", workflows.chain(), RUNS * workflows.CHAIN_LENGTH),
        ("fan", workflows.fan(), RUNS * (workflows.FAN_WIDTH + 2)),
        ("layers", workflows.layers(1_000), RUNS * 1_000),
    ],
)
def test_against_spelling(benchmark: BenchmarkFixture, name: str, document: bytes, nodes: int) -> None:
    runs = RUNS if name != "layers" else 10
    nodes = nodes * runs // RUNS
    assert decide(document, name, runs) == nodes
    # Measured: chain 0.87, fan 0.87, layers 0.97.
    assert cpu_ratio(benchmark, lambda: decide(document, name, runs), lambda: spell(nodes), rounds=5) < 4


def test_growth_of_a_run(benchmark: BenchmarkFixture) -> None:
    small, large = workflows.layers(500), workflows.layers(5_000)
    ratio = cpu_ratio(benchmark, lambda: decide(large, "layers", 1), lambda: decide(small, "layers", 1), rounds=5)
    # Ten times the nodes; measured: 11.
    assert ratio < 30


def test_replay_against_a_scan(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    writer = Writer(tmp_path / "log")
    writer.write(50_000)
    writer.close()
    ratio = cpu_ratio(
        benchmark, lambda: asyncio.run(recovered(tmp_path / "log")), lambda: scanned(tmp_path / "log"), rounds=5
    )
    # Measured: 2.3.
    assert ratio < 10
