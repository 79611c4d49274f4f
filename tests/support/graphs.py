"""Hypothesis strategies: definitions that compile, with inputs and the outcome of every job."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hypothesis import strategies as st

from tests.support.outcomes import Outcomes

Draw = Callable[[st.SearchStrategy[Any]], Any]
T = TypeVar("T")


@dataclass(frozen=True)
class Features:
    """What a drawn definition may hold."""

    racing: bool = True
    """What lets the order of results change the end: `any`, `quorum`, `cancel_rest`, failing items, time limits."""
    maps: bool = True
    loops: bool = True
    waits: bool = True
    nodes_max: int = 25
    slips: bool = True
    """Expressions that may fail."""


@dataclass(frozen=True)
class Case:
    """A workflow and all that happens to one run of it, but for the order."""

    definition: dict[str, Any]
    inputs: dict[str, Any]
    outcomes: Outcomes
    seed: int
    """For the order."""


@dataclass
class Names:
    """What expressions may refer to: CEL texts by the type of what they give."""

    ints: list[str] = field(default_factory=list)
    bools: list[str] = field(default_factory=list)
    lists: list[str] = field(default_factory=list)
    doubtful: list[str] = field(default_factory=list)
    """Ints that are null where the node has no output."""

    def plus(self, other: "Names") -> "Names":
        return Names(
            self.ints + other.ints,
            self.bools + other.bools,
            self.lists + other.lists,
            self.doubtful + other.doubtful,
        )


class Drawer:
    """Draws one definition."""

    def __init__(self, draw: Draw, features: Features) -> None:
        self.draw = draw
        self.features = features
        self.left = draw(st.integers(1, features.nodes_max))
        self.count = 0

    def chance(self, percent: int) -> bool:
        return bool(self.draw(st.integers(0, 99)) >= 100 - percent)

    def one_of(self, *choices: T) -> T:
        return choices[self.draw(st.integers(0, len(choices) - 1))]

    def new_id(self) -> str:
        self.count += 1
        self.left -= 1
        return f"n{self.count}{self.one_of('', '', '', '-x', '.y')}"

    # --- expressions --------------------------------------------------------------------------------------------

    def integer(self, names: Names) -> str:
        text = self.one_of(*names.ints, str(self.draw(st.integers(0, 5))))
        if self.chance(20):
            text = f"{text} {self.one_of('+', '-', '*')} {self.integer(names)}"
        if self.features.slips and names.doubtful and self.chance(3):
            text = f"({text} / {self.one_of(*names.doubtful)})"
        return f"({text})" if " " in text else text

    def boolean(self, names: Names) -> str:
        kind = self.draw(st.integers(0, 9))
        if kind == 0 and self.features.slips and names.doubtful and self.chance(30):
            return f"{self.one_of(*names.doubtful)} > {self.draw(st.integers(0, 5))}"
        if kind <= 3 and names.doubtful:
            return f"{self.one_of(*names.doubtful)} {self.one_of('==', '!=')} {self.draw(st.integers(0, 5))}"
        if kind <= 5 and names.bools:
            return self.one_of(*names.bools)
        if kind == 6:
            return f"!({self.boolean(names)})"
        if kind == 7:
            return f"({self.boolean(names)} {self.one_of('&&', '||')} {self.boolean(names)})"
        if kind == 8:
            return f"({self.boolean(names)} ? {self.boolean(names)} : {self.boolean(names)})"
        return f"{self.integer(names)} {self.one_of('<', '<=', '>', '>=', '==')} {self.integer(names)}"

    def template(self, names: Names) -> Any:
        kind = self.draw(st.integers(0, 5))
        if kind == 0:
            return f"n={'${'}{self.integer(names)}{'}'};"
        if kind == 1 and names.doubtful:
            return "${" + self.one_of(*names.doubtful) + "}"
        if kind == 2:
            return ["${" + self.boolean(names) + "}", True, None]
        return "${" + self.integer(names) + "}"

    # --- nodes --------------------------------------------------------------------------------------------------

    def graph(self, around: Names, depth: int, size: int) -> dict[str, Any]:
        """A graph of up to `size` nodes whose expressions see `around` and what is upstream of them."""
        nodes: list[dict[str, Any]] = []
        edges: list[dict[str, Any]] = []
        upstream: list[set[int]] = []
        gives: list[Names] = []
        while len(nodes) < size and (self.left > 0 or not nodes):
            at = len(nodes)
            sources = sorted(self.draw(st.sets(st.integers(0, at - 1), max_size=min(at, 3)))) if at else []
            if sources and self.chance(10):
                sources = sorted(set(sources) | set(range(min(at, 6))))
            seen = set(sources).union(*(upstream[source] for source in sources))
            names = around
            for other in sorted(seen):
                names = names.plus(gives[other])
            node, given = self.node(names, depth, [nodes[s]["id"] for s in sources])
            for source in sources:
                above = around.plus(gives[source])
                for other in sorted(upstream[source]):
                    above = above.plus(gives[other])
                edges.extend(self.edges(nodes[source], node["id"], above))
            nodes.append(node)
            gives.append(given)
            upstream.append(seen)
        document: dict[str, Any] = {"nodes": nodes, "edges": edges}
        if self.chance(50):
            names = around
            for given in gives:
                names = names.plus(given)
            document["output"] = {"a": self.template(names), "b": self.template(names)}
        return document

    def edges(self, source: dict[str, Any], target: str, names: Names) -> list[dict[str, Any]]:
        edge: dict[str, Any] = {"from": source["id"], "to": target}
        if self.chance(25):
            edge["when"] = self.boolean(names)
        if source["type"] in ("function", "approval", "map", "loop") and self.chance(15):
            edge["on"] = "error"
        return [edge]

    def node(self, names: Names, depth: int, sources: list[str]) -> tuple[dict[str, Any], Names]:
        kinds = ["function"] * 6
        if sources:
            kinds.append("join")
        if self.features.waits:
            kinds += ["timer", "approval"]
        if self.features.maps and depth < 2 and self.left > 1:
            kinds += ["map", "map"]
        if self.features.loops and depth < 2 and self.left > 1:
            kinds.append("loop")
        kind = self.one_of(*kinds)
        node: dict[str, Any] = {"id": self.new_id(), "type": kind}
        reference = f'nodes["{node["id"]}"]' if "-" in node["id"] or "." in node["id"] else f"nodes.{node['id']}"
        given = Names(bools=[f'{reference}.status == "{self.one_of("ok", "failed", "skipped")}"'])
        if kind == "function":
            self.function(node, names, given, reference)
        elif kind == "map":
            self.map(node, names, depth)
        elif kind == "loop":
            self.loop(node, names, depth)
        elif kind == "approval":
            self.approval(node, names)
            given.bools.append(f"{reference}.output.approved == true")
        elif kind == "timer":
            node["config"] = {"duration_s": self.one_of(0, 0.25, 1, 1, 10)}
        else:
            given.doubtful.append(f"{reference}.output.live")
        if len(sources) > 1 and self.features.racing and self.chance(30):
            node["join"] = self.one_of(
                "any", "all", {"quorum": self.draw(st.integers(1, len(sources)))},
                {"quorum": self.draw(st.integers(1, len(sources))), "required": True},
            )  # fmt: skip
            if node["join"] != "all" and self.chance(50):
                node["cancel_rest"] = True
        if kind in ("function", "map", "loop", "approval") and self.chance(20):
            node["on_error"] = "continue"
        if depth and not self.features.racing:
            node.pop("join", None)
            if kind != "join" and kind != "timer":
                node["on_error"] = "continue"
        return node, given

    def function(self, node: dict[str, Any], names: Names, given: Names, reference: str) -> None:
        node["config"] = {"name": self.one_of("f", "g")}
        node["input"] = {"x": self.template(names), "y": self.template(names)}
        if self.chance(45):
            node["retry"] = self.retry()
        if self.chance(25):
            node["timeout_s"] = self.one_of(0.5, 3, 20)
        if self.features.racing and self.chance(15):
            node["heartbeat_timeout_s"] = self.one_of(1, 5)
        if self.features.racing and self.chance(15):
            node["schedule_to_close_s"] = self.one_of(2, 10)
            if "retry" in node:
                # With chance in the wait, whether another attempt would begin in time is not the oracle's to say.
                node["retry"]["jitter"] = 0
        if self.chance(30):
            node["effect"] = self.one_of("pure", "read", "write")
        if self.chance(40):
            node["compensation"] = {"name": "undo", "input": {"was": f"${{{reference}.output.n}}", "k": "${inputs.n}"}}
            if self.chance(60):
                node["compensation"]["retry"] = self.retry()
            if self.chance(25):
                node["compensation"]["timeout_s"] = self.one_of(0.5, 3)
        given.doubtful.append(f"{reference}.output.n")
        given.bools.append(f"{reference}.output.b == true")
        given.lists.append(f"{reference}.output.l")

    def retry(self) -> dict[str, Any]:
        policy: dict[str, Any] = {"max_attempts": self.one_of(1, 2, 3, 3)}
        if self.chance(80):
            policy |= {"jitter": 0, "initial_s": self.one_of(0.1, 1.0, 7), "factor": self.one_of(1.0, 2.0, 3.5)}
        if self.chance(30):
            policy["max_s"] = 2
        if self.chance(50):
            policy["non_retryable"] = ["Fatal"]
        if self.chance(25):
            policy["by_error"] = [
                {"types": ["Flaky", "HeartbeatTimeout"], "max_attempts": self.one_of(1, 2, 4), "initial_s": 2},
                {"types": ["Timeout", "Flaky"], "max_attempts": 2},
            ]
        return policy

    def approval(self, node: dict[str, Any], names: Names) -> None:
        node["config"] = {"prompt": f"go on with ${{{self.integer(names)}}}?"}
        if self.features.racing and self.chance(60):
            node["config"]["timeout_s"] = self.one_of(1, 5)
            if self.chance(80):
                node["config"]["on_timeout"] = self.one_of("reject", "approve", "fail")

    def map(self, node: dict[str, Any], names: Names, depth: int) -> None:
        over = self.one_of("${inputs.l}", [1, 2, 3], [], *(f"${{{text}}}" for text in names.lists))
        inside = names.plus(Names(ints=["item", "index"]))
        node["config"] = {"over": over, "body": self.graph(inside, depth + 1, self.draw(st.integers(1, 4)))}
        if self.chance(50):
            node["config"]["max_concurrency"] = self.draw(st.integers(1, 3))
        if not self.features.racing or self.chance(50):
            node["config"]["on_item_error"] = "skip"

    def loop(self, node: dict[str, Any], names: Names, depth: int) -> None:
        inside = names.plus(Names(ints=["iteration"], doubtful=["last"]))
        node["config"] = {
            "while": self.one_of("true", self.boolean(inside)),
            "max_iterations": self.draw(st.integers(1, 3)),
            "body": self.graph(inside, depth + 1, self.draw(st.integers(1, 3))),
        }


@st.composite
def cases(draw: Draw, features: Features = Features(), trouble: float | None = None) -> Case:
    """A definition of 1 to `nodes_max` nodes, inputs, and outcomes."""
    drawer = Drawer(draw, features)
    around = Names(ints=["inputs.n"], bools=["inputs.b"], lists=["inputs.l"])
    graph = drawer.graph(around, 0, features.nodes_max)
    definition: dict[str, Any] = {"name": "drawn", "version": "1", **graph}
    if features.racing and drawer.chance(10):
        definition["timeout_s"] = drawer.one_of(2, 15)
    if drawer.chance(20):
        definition["compensation_timeout_s"] = drawer.one_of(0.05, 1, 5)
    inputs = {
        "n": draw(st.integers(0, 5)),
        "b": draw(st.booleans()),
        "l": draw(st.lists(st.integers(0, 9), max_size=3)),
    }
    share = draw(st.sampled_from([0.0, 0.1, 0.3, 0.6])) if trouble is None else trouble
    return Case(definition, inputs, Outcomes(draw(st.integers(0, 2**32 - 1)), share), draw(st.integers(0, 2**32 - 1)))
