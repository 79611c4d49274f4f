"""The few parts of a definition document that the oracle interprets, read without checks: it is given valid ones."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

Document: TypeAlias = Mapping[str, Any]
SECOND = 1_000_000_000


def nanoseconds(seconds: float) -> int:
    return round(seconds * SECOND)


def _optional(seconds: float | None) -> int | None:
    return None if seconds is None else nanoseconds(seconds)


@dataclass(frozen=True)
class Retry:
    """When a failed attempt is followed by another one."""

    max_attempts: int
    initial_s: float = 0.2
    factor: float = 2.0
    max_s: float = 30.0
    jitter: float = 0.2
    non_retryable: tuple[str, ...] = ()

    classes: tuple[tuple[tuple[str, ...], "Retry"], ...] = ()

    @classmethod
    def of(cls, document: Document | None, max_attempts: int) -> "Retry":
        stated = {"max_attempts": max_attempts, **(document or {})}
        by_error = stated.pop("by_error", ())
        plain = cls(**stated)
        classes = [
            (tuple(one["types"]), replace(plain, **{name: value for name, value in one.items() if name != "types"}))
            for one in by_error
        ]
        return replace(plain, classes=tuple(classes))

    def of_error(self, error_type: str) -> "Retry":
        """The policy of the first class that names the type, else the plain one."""
        return next((policy for types, policy in self.classes if error_type in types), self)

    @property
    def attempts_max(self) -> int:
        return max(self.max_attempts, *(policy.max_attempts for _, policy in self.classes), 0)

    def goes_on(self, attempt: int, error_type: str, retryable: bool | None) -> bool:
        if error_type in self.non_retryable or retryable is False:
            return False
        return attempt < self.of_error(error_type).max_attempts

    def delays(self, attempt: int, error_type: str) -> tuple[int, int]:
        """Bounds of the wait after this attempt, ns."""
        policy = self.of_error(error_type)
        middle = min(policy.initial_s * policy.factor ** (attempt - 1), policy.max_s)
        return nanoseconds(middle * (1 - policy.jitter)), nanoseconds(middle * (1 + policy.jitter))


@dataclass(frozen=True)
class Edge:
    source: str
    target: str
    when: str | None
    on_error: bool


@dataclass(frozen=True)
class Node:
    """A node as written, with the defaults of contracts.md filled in."""

    id: str
    type: str
    config: Document
    input: Any
    write: bool
    retry: Retry
    timeout_ns: int | None
    heartbeat_ns: int | None
    together_ns: int | None
    join: str
    quorum: int
    required: bool
    cancel_rest: bool
    continues: bool
    compensation: Document | None
    body: "Graph | None"

    @classmethod
    def of(cls, document: Document) -> "Node":
        kind, config, join = document["type"], document.get("config") or {}, document.get("join", "all")
        quorum = join if isinstance(join, dict) else {}
        effect = document.get("effect", "write" if kind == "function" else "pure")
        timeout_s = document.get("timeout_s")
        return cls(
            id=document["id"],
            type=kind,
            config=config,
            input=document.get("input", {}),
            write=effect == "write",
            retry=Retry.of(document.get("retry"), 1),
            timeout_ns=None if timeout_s is None else nanoseconds(timeout_s),
            heartbeat_ns=_optional(document.get("heartbeat_timeout_s")),
            together_ns=_optional(document.get("schedule_to_close_s")),
            join="quorum" if quorum else str(join),
            quorum=quorum.get("quorum", 1),
            required=quorum.get("required", False),
            cancel_rest=document.get("cancel_rest", False),
            continues=document.get("on_error") == "continue",
            compensation=document.get("compensation"),
            body=Graph.of(config["body"]) if kind in ("map", "loop") else None,
        )


@dataclass(frozen=True)
class Graph:
    """The workflow's own graph or a body."""

    nodes: dict[str, Node]
    edges: list[Edge]
    output: Any
    into: dict[str, list[int]] = field(default_factory=dict)
    out: dict[str, list[int]] = field(default_factory=dict)

    @classmethod
    def of(cls, document: Document) -> "Graph":
        graph = cls(
            nodes={node["id"]: Node.of(node) for node in document["nodes"]},
            edges=[
                Edge(edge["from"], edge["to"], edge.get("when"), edge.get("on") == "error")
                for edge in document.get("edges", [])
            ],
            output=document.get("output"),
        )
        for node in graph.nodes:
            graph.into[node] = [at for at, edge in enumerate(graph.edges) if edge.target == node]
            graph.out[node] = [at for at, edge in enumerate(graph.edges) if edge.source == node]
        return graph

    @property
    def leaves(self) -> list[str]:
        return [node for node in self.nodes if not self.out[node]]

    def only_leads_to(self, node: str, goal: str) -> bool:
        """Whether every path from `node` ends in or passes through `goal` (and there is one)."""
        targets = [self.edges[at].target for at in self.out[node]]
        return bool(targets) and all(target == goal or self.only_leads_to(target, goal) for target in targets)
