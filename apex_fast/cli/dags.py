"""Real scientific workflow graphs (WfInstances) as workflow definitions, and their levels to check against."""

import gzip
import json
from dataclasses import dataclass
from importlib import resources
from typing import Any

import msgspec

DEMO_DAG = "montage-chameleon-2mass-04d-001"


class DagNode(msgspec.Struct):
    """A task as it ran."""

    id: str
    program: str
    runtime_s: float


class DagOracle(msgspec.Struct):
    """What is known of the graph, computed elsewhere."""

    nodes: int
    edges: int
    levels: int
    max_level_width: int
    level_widths: list[int]
    critical_path_s: float
    total_runtime_s: float


class Dag(msgspec.Struct):
    """A graph of tasks."""

    name: str
    application: str
    oracle: DagOracle
    nodes: list[DagNode]
    edges: list[tuple[str, str]]


@dataclass(frozen=True)
class Task:
    """The function that stands for every task, and how its time is scaled (0: no-op)."""

    function: str
    seconds_per_second: float


def load(name: str = DEMO_DAG) -> Dag:
    """A graph that ships with the package."""
    packed = resources.files("apex_fast.cli.demo").joinpath("data", f"{name}.dag.json.gz").read_bytes()
    return msgspec.json.decode(gzip.decompress(packed), type=Dag)


def definition(dag: Dag, task: Task, name: str) -> bytes:
    """The workflow definition of a graph: one function node a task."""

    def node(source: DagNode) -> dict[str, Any]:
        body: dict[str, Any] = {
            "id": source.id,
            "type": "function",
            "config": {"name": task.function},
            "effect": "write",
        }
        if task.seconds_per_second:
            body["input"] = {
                "task": source.id,
                "seconds": round(source.runtime_s * task.seconds_per_second, 6),
            }
        return body

    return json.dumps(
        {
            "name": name,
            "version": "1",
            "nodes": [node(source) for source in dag.nodes],
            "edges": [{"from": a, "to": b} for a, b in dag.edges],
            "output": {"tasks": len(dag.nodes)},
        }
    ).encode()
