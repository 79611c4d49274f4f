"""What an agent that may patch its run is told, and what of its answer is the patch."""

from dataclasses import dataclass

import msgspec

from apex_fast.domain import PatchRules

# Over that only the sentences of refusals are shown, not the places.
REFUSED_BYTES_MAX = 8 * 1024
# A longer definition is shown as its nodes and edges: pointers into it stay right, and the prompt stays a prompt.
SHOWN_BYTES_MAX = 32 * 1024
SCHEMA: dict[str, object] = {
    "type": ["object", "null"],
    "properties": {
        "reason": {"type": "string"},
        "operations": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "op": {"enum": ["add", "remove", "replace", "move", "copy", "test"]},
                    "path": {"type": "string"},
                    "from": {"type": "string"},
                    "value": {},
                },
                "required": ["op", "path"],
            },
        },
    },
    "required": ["operations"],
}
_TOLD = """

You are the node {node} of the workflow below, and you may change what has not begun of it. Where that helps, give a
`patch` beside your `output`: `operations`, a JSON Patch (RFC 6902) on the definition as it stands below, and a
`reason`. Else leave it out. Your output is routed by the definition that the patch makes, so a guard of an edge that
you add may read it.
- Nodes, and the edges into them, that have begun (yours has) cannot be removed or changed; a new edge from a node that
  has ended has no guard. There are no cycles. New nodes need ids of their own and, to come after another, an edge;
  where the definition has no list of `edges`, add that first.
- A patch adds at most {nodes_max} nodes, all of yours together at most {agent_nodes_max}. It reaches only hosts,
  functions, workflows and models that the definition names or that you were granted, and goes round no approval.
- A patch that is refused changes nothing; your output stands.
The definition ({what}, epoch {epoch}):
{definition}"""
_REFUSED = """
Patches of agents that this run refused, the last one at the end, with the reason and the place. None of them changed
anything; do not give one again that is refused for the same reason:
{refused}"""


@dataclass(frozen=True)
class PatchTerms:
    """Under which terms agents patch."""

    rules: PatchRules
    nodes_max: int
    """Nodes that one patch adds."""
    agent_nodes_max: int
    """Nodes that all patches of one agent node add."""


class Proposed(msgspec.Struct):
    """A patch as an agent gives it."""

    operations: msgspec.Raw = msgspec.Raw(b"[]")
    reason: str = ""


class Answer(msgspec.Struct):
    """What an agent that may patch answers with."""

    output: msgspec.Raw = msgspec.Raw()
    patch: msgspec.Raw = msgspec.Raw(b"null")

    def proposed(self) -> Proposed | None:
        """The patch; None: there is none. What is no patch goes on as it is: the gates say so, and it is recorded."""
        try:
            proposed = _PATCH.decode(self.patch)
        except msgspec.ValidationError:
            return Proposed(self.patch)
        return None if proposed is None or bytes(proposed.operations) in (b"[]", b"null") else proposed


_PATCH = msgspec.json.Decoder(Proposed | None)
_LIST = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])


def told(node: str, definition: bytes, epoch: int, refused: bytes, terms: PatchTerms) -> str:
    """What stands behind the system prompt. ``refused``: patches of agents that the run refused, a JSON list."""
    what, shown = "canonical JSON", definition
    if len(definition) > SHOWN_BYTES_MAX:
        what, shown = "its nodes by id and type, and its edges", _outline(definition)
    text = _TOLD.format(
        node=node,
        nodes_max=terms.nodes_max,
        agent_nodes_max=terms.agent_nodes_max,
        what=what,
        epoch=epoch,
        definition=shown.decode(),
    )
    refusals = _LIST.decode(refused)
    if not refusals:
        return text
    if len(refused) > REFUSED_BYTES_MAX:
        refused = msgspec.json.encode([{**one, "details": None} for one in refusals])
    return text + _REFUSED.format(refused=refused.decode())


def _outline(definition: bytes) -> bytes:
    """A definition without what its nodes say."""
    whole = msgspec.json.decode(definition)
    nodes = [{"id": node["id"], "type": node["type"]} for node in whole["nodes"]]
    return msgspec.json.encode({**whole, "nodes": nodes})
