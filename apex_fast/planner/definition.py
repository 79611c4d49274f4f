"""What a plan compiles to: a workflow definition, the same bytes for every goal of the template.

A slot is an input of the run under its own name (`{LOCATION_2}` → `${inputs.LOCATION_2}`), always a string, exactly
as it stands in the goal. The result of an expression is never scanned again, so a value such as `${nodes.x}` stays
text. A reference `{"ref": "s1.flights.0.id"}` becomes `${nodes.s1.output.flights[0].id}`. Any other text of a plan
arrives as written.
"""

import hashlib
from collections.abc import Mapping
from typing import Final

import msgspec

from apex_fast.planner.plan import SLOT, PlanTemplate, Value, parents_of, slots_used

# Words that CEL keeps for itself (cel-spec, lexis): as a field they are written in brackets.
_RESERVED: Final = frozenset(
    {"as", "break", "const", "continue", "else", "false", "for", "function", "if", "import", "in", "let", "loop"}
    | {"namespace", "null", "package", "return", "true", "var", "void", "while"}
)
# A dollar sign that would open an expression together with what follows it.
_DOLLAR: Final = '${"$"}'

_encode = msgspec.json.Encoder(order="deterministic").encode


def workflow_name(plan: PlanTemplate) -> str:
    """The name under which the plan's definition is registered."""
    return f"plan-{plan.template}"


def definition_of(plan: PlanTemplate) -> bytes:
    """The definition (JSON). The version is taken from the content, so a changed plan is another version."""
    slots = sorted(slots_used(plan))
    nodes: list[dict[str, object]] = []
    edges: list[dict[str, str]] = []
    sinks = {step.id for step in plan.steps}
    for step in plan.steps:
        node: dict[str, object] = {"id": step.id, "type": "function", "config": {"name": step.tool}}
        if step.input:
            node["input"] = _filled(step.input)
        if step.compensation is not None:
            undo: dict[str, object] = {"name": step.compensation.tool}
            if step.compensation.input:
                undo["input"] = _filled(step.compensation.input)
            node["compensation"] = undo
        nodes.append(node)
        parents = sorted(parents_of(step))
        sinks.difference_update(parents)
        edges.extend({"from": parent, "to": step.id} for parent in parents)
    body: dict[str, object] = {
        "name": workflow_name(plan),
        "inputs": {
            "type": "object",
            "properties": {slot: {"type": "string", "minLength": 1} for slot in slots},
            "required": slots,
            "additionalProperties": False,
        },
        "nodes": nodes,
        "edges": edges,
        "output": {sink: f"${{nodes.{sink}.output}}" for sink in sorted(sinks)},
    }
    body["version"] = f"1.0.0-h{hashlib.sha256(_encode(body)).hexdigest()[:12]}"
    return _encode(body)


def _filled(value: Value) -> Value:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping):
        reference = value.get("ref")
        if len(value) == 1 and isinstance(reference, str):
            return _reference(reference)
        return {key: _filled(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_filled(inner) for inner in value]
    return value


def _text(text: str) -> str:
    parts: list[str] = []
    end = 0
    for slot in SLOT.finditer(text):
        parts.append(_literal(text[end : slot.start()], before_expression=True))
        parts.append(f"${{inputs.{slot[1]}}}")
        end = slot.end()
    parts.append(_literal(text[end:], before_expression=False))
    return "".join(parts)


def _literal(text: str, *, before_expression: bool) -> str:
    escaped = text.replace("${", _DOLLAR + "{")
    if before_expression and escaped.endswith("$"):
        return escaped[:-1] + _DOLLAR
    return escaped


def _reference(reference: str) -> str:
    step, *path = reference.split(".")
    fields = "".join(
        f"[{part}]" if part.isdigit() else f'["{part}"]' if part in _RESERVED else f".{part}" for part in path
    )
    node = f'nodes["{step}"]' if step in _RESERVED else f"nodes.{step}"
    return f"${{{node}.output{fields}}}"
