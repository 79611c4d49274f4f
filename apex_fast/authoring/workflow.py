"""Workflows written in Python: a builder of the JSON definition, and nothing more than that.

The compiler checks; this only spells. A node gets the edges it is given with ``after``; where ``after`` is left out,
one from each node that its input, config or guard refers to, and none otherwise.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import msgspec

from apex_fast.authoring.breaker import Breaker
from apex_fast.authoring.reference import Reference, expression_of
from apex_fast.authoring.retry import Retry

if TYPE_CHECKING:
    from apex_fast.authoring.app import App

After: TypeAlias = "Node | Edge | str | Iterable[Node | Edge | str] | None"
Join: TypeAlias = Literal["all", "any"] | Mapping[str, int]
REFERS: Final = re.compile(r"""nodes(?:\.([A-Za-z_]\w*)|\[\\?["']([^"'\\]+)\\?["']\])""")


def _spell(value: object) -> object:
    if isinstance(value, Reference):
        return str(value)
    raise NotImplementedError(f"a {type(value).__qualname__} cannot stand in a definition")


def _plain(value: object) -> Any:
    return msgspec.to_builtins(value, enc_hook=_spell)


def _schema(inputs: Mapping[str, Any] | type) -> dict[str, Any]:
    return dict(inputs) if isinstance(inputs, Mapping) else msgspec.json.schema(inputs)


class Edge:
    """An edge out of a node, with its guard."""

    __slots__ = ("on", "source", "when")

    def __init__(self, source: str, when: str | None = None, on: str | None = None) -> None:
        self.source = source
        self.when = when
        self.on = on


class Node:
    """A node of a workflow that is being written."""

    def __init__(self, node_id: str) -> None:
        self.id = node_id

    @property
    def output(self) -> Reference:
        """Its output, to refer to."""
        return Reference("nodes")[self.id]["output"]

    @property
    def status(self) -> Reference:
        """`ok`, `skipped` or `failed`."""
        return Reference("nodes")[self.id]["status"]

    @property
    def error(self) -> Reference:
        """Its error `{type, message}`, after it failed."""
        return Reference("nodes")[self.id]["error"]

    def when(self, guard: str | Reference) -> Edge:
        """The edge out of this node that is live only if ``guard`` (CEL) is true: ``after=[score.when("…")]``."""
        return Edge(self.id, when=_guard(guard))

    def on_error(self, guard: str | Reference | None = None) -> Edge:
        """The edge that is live when this node failed."""
        return Edge(self.id, when=None if guard is None else _guard(guard), on="error")

    def __repr__(self) -> str:
        return f"Node({self.id!r})"


class BodyNode(Node):
    """A node with a graph of its own; nodes are added to its ``body``."""

    def __init__(self, node_id: str, body: "Graph") -> None:
        super().__init__(node_id)
        self.body = body


class MapNode(BodyNode):
    """A map node, whose ``body`` runs once for each item."""

    @property
    def item(self) -> Reference:
        """The item that the body runs for."""
        return Reference("item")

    @property
    def index(self) -> Reference:
        """Its place in the list, from 0."""
        return Reference("index")


class LoopNode(BodyNode):
    """A loop node, whose ``body`` runs once for each iteration."""

    @property
    def iteration(self) -> Reference:
        """The number of the iteration, from 0."""
        return Reference("iteration")

    @property
    def last(self) -> Reference:
        """The output of the iteration before; null in the first one."""
        return Reference("last")


class Graph:
    """Nodes and edges; the body of a map or a loop, or a whole workflow. Each method adds a node and returns it.

    Common to all: ``after`` (nodes, ids, or edges from `Node.when` and `Node.on_error`), ``when`` (a CEL guard on
    every edge of ``after`` that has none), ``join`` (`all`, `any` or ``{"quorum": n}``), ``options`` (any further
    field of the node, such as `priority` or `on_error`).
    """

    def __init__(self, app: "App | None" = None) -> None:
        self._app = app
        self._nodes: list[dict[str, Any]] = []
        self._edges: list[dict[str, Any]] = []
        self._bodies: list[tuple[dict[str, Any], Graph]] = []
        self._result: Any = None

    def function(
        self,
        node_id: str,
        function: str | Callable[..., object],
        *,
        input: Mapping[str, Any] | Reference | str | None = None,
        config: Mapping[str, Any] | None = None,
        after: After = None,
        when: str | Reference | None = None,
        join: Join | None = None,
        retry: Retry | Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
        compensation: str | Callable[..., object] | Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Node:
        """Call a registered function with ``input`` as its arguments."""
        stated: dict[str, Any] = {"config": {"name": self._name_of(function)}}
        if config is not None:
            stated["config"]["config"] = config
        if input is not None:
            stated["input"] = input
        if compensation is not None:
            undo = compensation if isinstance(compensation, Mapping) else {"name": self._name_of(compensation)}
            stated["compensation"] = undo
        return self.node(node_id, "function", after, when, join, retry, timeout_s, **stated, **options)

    def http(
        self,
        node_id: str,
        method: str,
        url: str | Reference,
        *,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, Any] | None = None,
        body: Any = None,
        expect_status: Sequence[int] | None = None,
        after: After = None,
        when: str | Reference | None = None,
        join: Join | None = None,
        retry: Retry | Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
        **options: Any,
    ) -> Node:
        """Make a request; the output is ``{status, headers, body}``."""
        config = {
            "method": method,
            "url": url,
            "query": query,
            "headers": headers,
            "body": body,
            "expect_status": expect_status,
        }
        config = {name: value for name, value in config.items() if value is not None}
        return self.node(node_id, "http", after, when, join, retry, timeout_s, config=config, **options)

    def timer(
        self,
        node_id: str,
        duration_s: float | Reference | None = None,
        *,
        until: str | Reference | None = None,
        after: After = None,
        when: str | Reference | None = None,
        join: Join | None = None,
        **options: Any,
    ) -> Node:
        """Wait for ``duration_s`` seconds, or ``until`` an RFC 3339 time."""
        config = {"until": until} if until is not None else {"duration_s": duration_s}
        return self.node(node_id, "timer", after, when, join, config=config, **options)

    def approval(
        self,
        node_id: str,
        prompt: str,
        *,
        timeout_s: float | None = None,
        on_timeout: Literal["approve", "reject", "fail"] | None = None,
        escalate_to: Sequence[str] | None = None,
        escalate_after_s: float | None = None,
        after: After = None,
        when: str | Reference | None = None,
        join: Join | None = None,
        **options: Any,
    ) -> Node:
        """Wait for a person; the output is ``{approved, decision, reason, by, edits, timed_out}``."""
        config = {
            "prompt": prompt,
            "timeout_s": timeout_s,
            "on_timeout": on_timeout,
            "escalate_to": escalate_to,
            "escalate_after_s": escalate_after_s,
        }
        config = {name: value for name, value in config.items() if value is not None}
        return self.node(node_id, "approval", after, when, join, config=config, **options)

    def signal(
        self,
        node_id: str,
        name: str | Reference,
        *,
        match: str | Reference | None = None,
        timeout_s: float | None = None,
        on_timeout: Literal["fail", "continue"] | None = None,
        after: After = None,
        when: str | Reference | None = None,
        join: Join | None = None,
        **options: Any,
    ) -> Node:
        """Wait for a signal; the output is ``{payload, timed_out}``. ``match``: CEL over `signal.payload`."""
        config = {
            "name": name,
            "match": None if match is None else _guard(match),
            "timeout_s": timeout_s,
            "on_timeout": on_timeout,
        }
        config = {key: value for key, value in config.items() if value is not None}
        return self.node(node_id, "signal", after, when, join, config=config, **options)

    def send_signal(
        self,
        node_id: str,
        name: str | Reference,
        run_id: str | Reference,
        payload: Any = None,
        *,
        after: After = None,
        when: str | Reference | None = None,
        join: Join | None = None,
        **options: Any,
    ) -> Node:
        """Signal another run; the output is ``{offset}`` of the signal there."""
        config = {"name": name, "send": {"run_id": run_id, "payload": payload}}
        return self.node(node_id, "signal", after, when, join, config=config, **options)

    def join(
        self,
        node_id: str,
        after: After,
        *,
        rule: Join = "all",
        when: str | Reference | None = None,
        **options: Any,
    ) -> Node:
        """Wait for edges, and do nothing else."""
        return self.node(node_id, "join", after, when, rule, **options)

    def map(
        self,
        node_id: str,
        over: Reference | str | Sequence[Any],
        *,
        max_concurrency: int | None = None,
        on_item_error: Literal["fail", "skip"] | None = None,
        after: After = None,
        when: str | Reference | None = None,
        join: Join | None = None,
        **options: Any,
    ) -> MapNode:
        """Run the nodes added to the returned node's ``body`` for each item; the output is the list of results."""
        config = {"over": over, "max_concurrency": max_concurrency, "on_item_error": on_item_error}
        config = {name: value for name, value in config.items() if value is not None}
        return MapNode(node_id, self._with_body(node_id, "map", after, when, join, config=config, **options))

    def loop(
        self,
        node_id: str,
        while_: str | Reference,
        *,
        max_iterations: int,
        after: After = None,
        when: str | Reference | None = None,
        join: Join | None = None,
        **options: Any,
    ) -> LoopNode:
        """Run the nodes added to the returned node's ``body`` again and again; the output is the last one's.

        ``while_``: CEL, asked before each iteration; it may read `iteration` and `last`.
        """
        config = {"while": _guard(while_), "max_iterations": max_iterations}
        return LoopNode(node_id, self._with_body(node_id, "loop", after, when, join, config=config, **options))

    def composite(
        self,
        node_id: str,
        workflow: str,
        *,
        version: str | None = None,
        tag: str | None = None,
        inputs: Mapping[str, Any] | Reference | str | None = None,
        after: After = None,
        when: str | Reference | None = None,
        join: Join | None = None,
        retry: Retry | Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
        compensation: str | Callable[..., object] | Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Node:
        """Run another workflow, by ``version`` or ``tag`` (`main` where neither is said); the output is its output.

        ``compensation``: what undoes the whole child; without one, what the child did is undone node by node.
        """
        where = {"version": version} if version is not None else {"tag": tag or "main"}
        stated: dict[str, Any] = {"config": {"workflow": workflow, **where}}
        if inputs is not None:
            stated["config"]["inputs"] = inputs
        if compensation is not None:
            undo = compensation if isinstance(compensation, Mapping) else {"name": self._name_of(compensation)}
            stated["compensation"] = undo
        return self.node(node_id, "composite", after, when, join, retry, timeout_s, **stated, **options)

    def agent(
        self,
        node_id: str,
        prompt: str,
        *,
        model: str | None = None,
        output: Mapping[str, Any] | type | None = None,
        may_patch: bool = False,
        after: After = None,
        when: str | Reference | None = None,
        join: Join | None = None,
        retry: Retry | Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
        **options: Any,
    ) -> Node:
        """Ask a model; the output is ``{text, value, model, usage}``.

        ``output``: a JSON Schema, or a type that msgspec knows, that the answer has to fit; it is then ``value``.
        ``may_patch``: it may propose a patch of its run beside the answer.
        """
        config: dict[str, Any] = {"prompt": prompt}
        if model is not None:
            config["model"] = model
        if may_patch:
            config["may_patch"] = True
        if output is not None:
            config["output_schema"] = _schema(output)
        return self.node(node_id, "agent", after, when, join, retry, timeout_s, config=config, **options)

    def _with_body(self, node_id: str, type: str, *edges: Any, **fields: Any) -> "Graph":
        self.node(node_id, type, *edges, **fields)
        body = Graph(self._app)
        self._bodies.append((self._nodes[-1], body))
        return body

    def node(
        self,
        node_id: str,
        type: str,
        after: After = None,
        when: str | Reference | None = None,
        join: Join | None = None,
        retry: Retry | Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
        **fields: Any,
    ) -> Node:
        """A node of any type, with its fields as the definition has them."""
        stated: dict[str, Any] = {"id": node_id, "type": type, **fields}
        if isinstance(stated.get("breaker"), Breaker):
            stated["breaker"] = stated["breaker"].document()
        if retry is not None:
            stated["retry"] = retry.document() if isinstance(retry, Retry) else retry
        if timeout_s is not None:
            stated["timeout_s"] = timeout_s
        if join is not None:
            stated["join"] = join
        stated = _plain(stated)
        edges = self._edges_from(after, stated, when)
        if when is not None and not edges:
            raise ValueError(f"node {node_id}: a guard stands on an edge; say after which node with after=")
        for edge in edges:
            guard = edge.when if edge.when is not None else None if when is None else _guard(when)
            spelt = {"from": edge.source, "to": node_id, "when": guard, "on": edge.on}
            self._edges.append({name: value for name, value in spelt.items() if value is not None})
        self._nodes.append(stated)
        return Node(node_id)

    def output(self, value: Any) -> None:
        """What the graph answers: a value with references in it. Default: the outputs of its last nodes, by id."""
        self._result = _plain(value)

    def document(self) -> dict[str, Any]:
        """Nodes, edges and output as a definition has them."""
        for node, body in self._bodies:
            node["config"]["body"] = body.document()
        document: dict[str, Any] = {"nodes": self._nodes, "edges": self._edges}
        if self._result is not None:
            document["output"] = self._result
        return document

    def _edges_from(self, after: After, stated: dict[str, Any], when: str | Reference | None) -> list[Edge]:
        if after is None:
            text = msgspec.json.encode(stated).decode() + ("" if when is None else _guard(when))
            named = {dotted or quoted for dotted, quoted in REFERS.findall(text)}
            return [Edge(node["id"]) for node in self._nodes if node["id"] in named]
        given = [after] if isinstance(after, Node | Edge | str) else list(after)
        return [
            source if isinstance(source, Edge) else Edge(source.id if isinstance(source, Node) else source)
            for source in given
        ]

    def _name_of(self, function: str | Callable[..., object]) -> str:
        if isinstance(function, str):
            return function
        if self._app is not None:
            return self._app.name_of(function)
        return str(getattr(function, "__name__", function))


class Workflow(Graph):
    """A workflow that is being written.

    ``inputs``: a JSON Schema (2020-12), or a type that msgspec knows (a Struct, dataclass or TypedDict).
    ``timeout_s``: time limit of a run. The definition may as well be written as JSON; both are accepted everywhere.
    """

    def __init__(
        self,
        name: str,
        version: str = "1",
        *,
        inputs: Mapping[str, Any] | type | None = None,
        timeout_s: float | None = None,
        app: "App | None" = None,
    ) -> None:
        super().__init__(app)
        self.name = name
        self.version = version
        self._inputs = None if inputs is None else _schema(inputs)
        self._timeout_s = timeout_s

    @property
    def inputs(self) -> Reference:
        """The inputs of a run, to refer to."""
        return Reference("inputs")

    def document(self) -> dict[str, Any]:
        """The definition."""
        document: dict[str, Any] = {"name": self.name, "version": self.version}
        if self._inputs is not None:
            document["inputs"] = self._inputs
        if self._timeout_s is not None:
            document["timeout_s"] = self._timeout_s
        return document | super().document()

    def to_json(self) -> bytes:
        """The definition as JSON."""
        return msgspec.json.encode(self.document())


def _guard(guard: str | Reference) -> str:
    return expression_of(guard) if isinstance(guard, Reference) else guard
