"""What the interpreter remembers of a run."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.oracle.definition import Graph, Node
from tests.oracle.expressions import ABSENT


@dataclass
class Verdict:
    """How a node was decided."""

    status: str
    """`ok`, `failed` or `skipped`."""
    output: Any = ABSENT
    error: dict[str, str] | None = None


@dataclass
class Failure:
    """Why a run fails."""

    code: str
    type: str
    node: str


@dataclass
class Items:
    """The list of a map on its way."""

    over: list[Any]
    results: list[Any]
    opened: int = 0
    failure: dict[str, str] | None = None


@dataclass
class Iterations:
    """A loop on its way."""

    opened: int = 0
    last: Any = None
    failure: dict[str, str] | None = None


@dataclass
class Work:
    """Of a started node: `job`, `scheduling` and `retry` (before the next attempt), `timer`, `approval`, `map`,
    `loop`."""

    kind: str
    attempt: int = 1
    due: tuple[int, int] | None = None
    """Earliest and latest moment of what ends the wait, ns."""
    items: Items | None = None
    loop: Iterations | None = None
    error: str = ""
    """Of a job that is tried again: the type of its last error."""
    ends: dict[str, int] = field(default_factory=dict)
    """Of a job, when each limit of time is reached: `attempt`, `together`, `silence`."""
    input: Any = None
    """Of a job; the same in every attempt."""


@dataclass(eq=False)
class Scope:
    """One instance of a graph: of the workflow's own, or of a body for one item or one iteration."""

    prefix: str
    graph: Graph
    parent: "Scope | None" = None
    owner: str = ""
    index: int = 0
    item: Any = None
    """The item of a map; in a loop the output of the iteration before."""
    tokens: dict[int, bool] = field(default_factory=dict)
    decided: dict[str, Verdict] = field(default_factory=dict)
    work: dict[str, Work] = field(default_factory=dict)
    doomed: set[str] = field(default_factory=set)
    """Nodes that a join with `cancel_rest` gave up."""
    ending: str = ""
    """`failed` or `cancelled`: nothing starts here any more."""
    error: dict[str, str] | None = None
    closed: bool = False

    def chain(self) -> Iterator["Scope"]:
        """This scope and those around it, innermost first."""
        scope: Scope | None = self
        while scope is not None:
            yield scope
            scope = scope.parent

    def innermost(self, kind: str) -> "Scope | None":
        """This scope or the next one around it that is a body of a `map`, or of a `loop`."""
        for scope in self.chain():
            if scope.parent is not None and scope.parent.graph.nodes[scope.owner].type == kind:
                return scope
        return None

    def gives_up(self) -> bool:
        """Whether this scope, one around it, or a node that it belongs to was given up."""
        return any(
            scope.ending or (scope.parent is not None and scope.owner in scope.parent.doomed) for scope in self.chain()
        )

    def undecided(self) -> list[str]:
        return [node for node in self.graph.nodes if node not in self.decided]

    def readiness(self, node: Node) -> str:
        """What the tokens ask of a node that has not started: `start`, `skip`, `unreachable`, or nothing yet."""
        incoming = self.graph.into[node.id]
        if not incoming:
            return "start"
        live = sum(self.tokens.get(edge, False) for edge in incoming)
        open_ = sum(edge not in self.tokens for edge in incoming)
        if node.join == "all":
            return "" if open_ else "start" if live else "skip"
        wanted = 1 if node.join == "any" else node.quorum
        if live >= wanted:
            return "start"
        if live + open_ >= wanted:
            return ""
        return "unreachable" if node.required else "skip"

    def live(self, node: str) -> int:
        return sum(self.tokens.get(edge, False) for edge in self.graph.into[node])
