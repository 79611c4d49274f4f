"""What the optimizer's passes find in workflows and what they save: calls, and time on the critical path.

``python -m bench.savings [--json]``

Each pass is asked alone for each definition, then all of them together; only what is proved counts. What a run costs is
a model, for nobody ran these: a call takes 1 s and one of a model 3 s, waits and joins take none; a guard is true half
the time (and the time is that of a run in which all are); a map has 10 items, done at once; a loop has 3 iterations.

Corpora: ``people``, workflows as people and models write them (`bench/data/optimizer`); ``plans``, sequences of calls
that a model wrote down, one after the other (NESTFUL); ``argo`` and ``science``, graphs whose edges are data (Argo's
examples, WfInstances): there a call reads all that stands before it, so there is nothing to find but what is not read.
"""

import argparse
import functools
import gzip
import itertools
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from apex_fast.core import compile as compile_definition
from apex_fast.optimizer import Found, OptimizedPatch, PassFolder, Refusal, optimize

DATA: Final = Path(__file__).parent / "data"
SCIENCE: Final = Path(__file__).parents[1] / "crates" / "ir" / "tests" / "data" / "wfinstances.txt"
SECONDS: Final = {"function": 1.0, "http": 1.0, "composite": 1.0, "agent": 3.0}
ITEMS: Final = 10
ITERATIONS: Final = 3
GUARD: Final = 0.5
# Tools of plans that change something, by the first word of their names; the others look something up.
WRITES: Final = frozenset({"add", "create", "execute", "play", "record", "schedule", "send"})


@dataclass(frozen=True)
class Cost:
    """Calls of a run, and seconds on its critical path."""

    calls: float = 0.0
    critical_s: float = 0.0


@dataclass
class Row:
    """What a pass did to a corpus. ``refused`` counts patches that were not proved."""

    definitions: int = 0
    changed: int = 0
    refused: int = 0
    calls: float = 0.0
    calls_after: float = 0.0
    critical_s: float = 0.0
    critical_s_after: float = 0.0
    found: list[str] = field(default_factory=list)


def cost(graph: dict[str, Any]) -> Cost:
    """The model."""
    into: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for edge in graph.get("edges", []):
        into[edge["to"]].append(edge)
    nodes = {node["id"]: node for node in graph["nodes"]}

    @functools.cache
    def share(name: str) -> float:
        """How often it starts."""
        return max((share(edge["from"]) * _taken(edge) for edge in into[name]), default=1.0)

    @functools.cache
    def ends(name: str) -> float:
        """When it ends."""
        return max((ends(edge["from"]) for edge in into[name]), default=0.0) + _one(nodes[name]).critical_s

    # In an order in which no recursion is deep.
    for name in _ordered(nodes, into):
        share(name)
        ends(name)
    return Cost(sum(share(name) * _one(nodes[name]).calls for name in nodes), max(ends(name) for name in nodes))


def _ordered(nodes: dict[str, Any], into: dict[str, list[dict[str, Any]]]) -> Iterator[str]:
    done: set[str] = set()
    left = list(nodes)
    while left:
        ready = [name for name in left if all(edge["from"] in done for edge in into[name])]
        yield from ready
        done.update(ready)
        left = [name for name in left if name not in done]


def _taken(edge: dict[str, Any]) -> float:
    guard = edge.get("when", "true")
    if edge.get("on") == "error" or guard == "false":
        return 0.0
    return 1.0 if guard == "true" or guard.endswith(") > 0") else GUARD


@functools.cache
def _body(document: str) -> Cost:
    return cost(json.loads(document))


def _one(node: dict[str, Any]) -> Cost:
    """What one start of a node costs."""
    kind = node["type"]
    if kind in {"map", "loop"}:
        inside = _body(json.dumps(node["config"]["body"]))
        times = ITEMS if kind == "map" else ITERATIONS
        return Cost(times * inside.calls, inside.critical_s * (1 if kind == "map" else times))
    return Cost(1.0 if kind in SECONDS else 0.0, SECONDS.get(kind, 0.0))


def people() -> Iterator[dict[str, Any]]:
    """Workflows as people and models write them."""
    for file in sorted((DATA / "optimizer").glob("*.json")):
        if file.stem != "ABOUT":
            yield json.loads(file.read_bytes())


def plans() -> Iterator[dict[str, Any]]:
    """Plans of a model: calls in the order in which it wrote them, and what of them it wants."""
    for line in gzip.decompress((DATA / "nestful_glaive.jsonl.gz").read_bytes()).splitlines():
        plan = json.loads(line)
        names = [node["id"] for node in plan["nodes"]]
        if len(set(names)) < len(names):  # Two calls of one name: nobody knows which is meant.
            continue
        nodes = [
            {
                "id": node["id"],
                "type": "function",
                "config": {"name": node["tool"]},
                "input": _referring(node["args"], names),
                "effect": "write" if node["tool"].split("_")[0].lower() in WRITES else "read",
            }
            for node in plan["nodes"]
        ]
        edges = [{"from": one, "to": other} for one, other in itertools.pairwise(names)]
        yield _flow(plan["id"], nodes, edges, _referring(plan["result"], names))


def _referring(value: Any, names: list[str]) -> Any:
    """`$var1.distance$` as an expression."""
    match value:
        case dict():
            return {name: _referring(inner, names) for name, inner in value.items()}
        case list():
            return [_referring(inner, names) for inner in value]
        case str() if value.startswith("$") and value.endswith("$"):
            name, *path = value.strip("$").split(".")
            members = "".join(f".{part}" for part in path) if all(part.isidentifier() for part in path) else ""
            return f"${{nodes.{name}.output{members}}}" if name in names else value
        case _:
            return value


def argo() -> Iterator[dict[str, Any]]:
    """The examples of Argo Workflows that are graphs without cycles."""
    for line in gzip.decompress((DATA / "argo_dags.jsonl.gz").read_bytes()).splitlines():
        graph = json.loads(line)
        if graph["acyclic"]:
            tools = {node["id"]: node["tool"] for node in graph["nodes"]}
            yield _of_data(graph["id"], tools, [(one, other) for one, other in graph["edges"]])


def science() -> Iterator[dict[str, Any]]:
    """Scientific workflows."""
    lines = iter(SCIENCE.read_text().splitlines())
    for name, _, ids, edges in zip(*[lines] * 4, strict=True):
        names = ids.split()
        pairs = [edge.split(">") for edge in edges.split()]
        of_names = [(names[int(one)], names[int(other)]) for one, other in pairs]
        yield _of_data(name, dict.fromkeys(names, "task"), of_names)


def _of_data(name: str, tools: dict[str, str], edges: list[tuple[str, str]]) -> dict[str, Any]:
    """A graph whose edges are data: a call reads what stands before it, and the last ones are wanted."""
    ids = {one: f"n{at}" for at, one in enumerate(tools)}
    before: dict[str, list[str]] = defaultdict(list)
    for one, other in edges:
        before[other].append(ids[one])
    nodes = [
        {
            "id": ids[one],
            "type": "function",
            "config": {"name": "call"},
            "input": {"of": one, "tool": tool, "reads": [f"${{nodes.{source}.output}}" for source in before[one]]},
            "effect": "read",
        }
        for one, tool in tools.items()
    ]
    last = set(ids) - {one for one, _ in edges}
    wanted = {ids[one]: f"${{nodes.{ids[one]}.output}}" for one in sorted(last)}
    return _flow(name, nodes, [{"from": ids[one], "to": ids[other]} for one, other in edges], wanted)


def _flow(name: str, nodes: list[Any], edges: list[Any], output: Any) -> dict[str, Any]:
    clean = "".join(sign if sign.isalnum() else "_" for sign in name)[:60]
    return {"name": clean, "version": "1", "nodes": nodes, "edges": edges, "output": output}


CORPORA: Final = {"people": people, "plans": plans, "argo": argo, "science": science}


def measured(definitions: list[dict[str, Any]], passes: list[Found]) -> Row:
    """What these passes do to these definitions."""
    row = Row()
    for document in definitions:
        before = compile_definition(json.dumps(document).encode())
        done = optimize(before, passes)
        was, now = cost(json.loads(before.canonical)), cost(json.loads(done.definition.canonical))
        row.definitions += 1
        row.refused += sum(isinstance(step.outcome, Refusal) for step in done.steps)
        row.calls += was.calls
        row.calls_after += now.calls
        row.critical_s += was.critical_s
        row.critical_s_after += now.critical_s
        if any(isinstance(step.outcome, OptimizedPatch) for step in done.steps):
            row.changed += 1
            row.found.append(document["name"])
    return row


def table(rows: dict[str, dict[str, Row]]) -> str:
    """The figures for people."""
    lines = [
        "| corpus | pass | finds something in | calls | seconds on the critical path |",
        "|---|---|---|---|---|",
    ]
    for corpus, of_pass in rows.items():
        for name, row in of_pass.items():
            if row.changed == 0 and name != "all":
                continue
            calls = f"{row.calls:.0f} → {row.calls_after:.0f}"
            lines.append(
                f"| {corpus} | {name} | {row.changed} of {row.definitions} | {calls} "
                f"| {row.critical_s:.0f} → {row.critical_s_after:.0f} |"
            )
    return "\n".join(lines)


def main() -> int:
    """Print it; 1 if a patch was refused, for the shipped passes should know what they do."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = words.parse_args()
    passes = PassFolder().passes()
    rows: dict[str, dict[str, Row]] = {}
    for corpus, load in CORPORA.items():
        definitions = list(load())
        rows[corpus] = {one.name: measured(definitions, [one]) for one in passes}
        rows[corpus]["all"] = measured(definitions, passes)
    if arguments.json:
        shown = {corpus: {name: vars(row) for name, row in of_pass.items()} for corpus, of_pass in rows.items()}
        print(json.dumps(shown, indent=2))
    else:
        print(table(rows))
    return 1 if any(row.refused for of_pass in rows.values() for row in of_pass.values()) else 0


if __name__ == "__main__":
    raise SystemExit(main())
