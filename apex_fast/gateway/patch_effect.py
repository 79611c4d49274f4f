"""What a patch did: which of the nodes that it added ran, how long, and how often a model or a tool was asked."""

from collections.abc import Iterable

import msgspec

from apex_fast.domain import Event

# What a run records of its nodes, alone or (of a fast run) as decisions of a turn.
TYPES = frozenset(
    {
        "ToolCallRequested", "ToolResultReceived", "ChildStarted", "ChildEnded", "TimerStarted", "TimerFired",
        "ApprovalRequested", "ApprovalResolved", "SignalReceived", "ScopeOpened", "TurnRecorded",
    }
)  # fmt: skip
_BEGINS = frozenset({"ToolCallRequested", "ChildStarted", "TimerStarted", "ApprovalRequested", "ScopeOpened"})
_ENDS = frozenset({"ToolResultReceived", "ChildEnded", "TimerFired", "ApprovalResolved", "SignalReceived"})


class Effect(msgspec.Struct):
    """What came of the nodes that a patch added. An instance (an item of a map, an iteration) counts by itself in
    ``attempts`` and ``time_s``, the sum of the times from its beginning to its end."""

    nodes_added: int = 0
    nodes_run: int = 0
    """Of those, how many began."""
    attempts: int = 0
    time_s: float = 0.0
    tokens_in: int = 0
    """Of models, as their answers say; a run that is recorded fast does not keep them."""
    tokens_out: int = 0


class _Usage(msgspec.Struct):
    tokens_in: int = 0
    tokens_out: int = 0


class _Output(msgspec.Struct):
    usage: _Usage = msgspec.field(default_factory=_Usage)


class _Record(msgspec.Struct):
    node: str = ""
    retry: bool = False
    output: msgspec.Raw = msgspec.Raw()


class _Decision(msgspec.Struct):
    type: str
    payload: _Record


class _Turn(msgspec.Struct):
    decisions: list[_Decision]


_RECORD = msgspec.json.Decoder(_Record)
_TURN = msgspec.json.Decoder(_Turn)
_OUTPUT = msgspec.json.Decoder(_Output)
_OPERATIONS = msgspec.json.Decoder(list[dict[str, object]])


def nodes_added(operations: bytes) -> set[str]:
    """The ids of the nodes that operations on ids add, those in bodies too."""
    found: set[str] = set()
    waiting = [one["node"] for one in _OPERATIONS.decode(operations) if one.get("op") == "add_node"]
    while waiting:
        node = waiting.pop()
        if not isinstance(node, dict):
            continue
        found.add(str(node.get("id", "")))
        config = node.get("config")
        body = config.get("body") if isinstance(config, dict) and node.get("type") in ("map", "loop") else None
        waiting += body.get("nodes", []) if isinstance(body, dict) else []
    return found


def effect_of(added: set[str], events: Iterable[Event]) -> Effect:
    """What the events of a run say about these nodes."""
    effect = Effect(nodes_added=len(added))
    began: dict[str, int] = {}
    ran: set[str] = set()
    for event in events:
        for kind, record in _records(event):
            node = record.node.rpartition("].")[2]
            if node not in added:
                continue
            if kind in _BEGINS:
                began.setdefault(record.node, event.time_ns)
                ran.add(node)
                effect.attempts += kind in ("ToolCallRequested", "ChildStarted")
            elif not record.retry and record.node in began:
                effect.time_s += (event.time_ns - began.pop(record.node)) / 1e9
                usage = _usage(record.output)
                effect.tokens_in += usage.tokens_in
                effect.tokens_out += usage.tokens_out
    effect.nodes_run = len(ran)
    return effect


def _records(event: Event) -> Iterable[tuple[str, _Record]]:
    if event.type != "TurnRecorded":
        return [(event.type, _RECORD.decode(event.payload))]
    return [(one.type, one.payload) for one in _TURN.decode(event.payload).decisions if one.type in _BEGINS | _ENDS]


def _usage(output: msgspec.Raw) -> _Usage:
    """The tokens that the output of an agent names; none of any other output."""
    try:
        return _OUTPUT.decode(output).usage
    except msgspec.MsgspecError:
        return _Usage()
