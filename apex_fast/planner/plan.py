"""A plan template: how it is said, and the steps that do it."""

import re
from collections.abc import Collection, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import Meta

from apex_fast.errors import FieldError
from apex_fast.planner.errors import PlanInvalid

KINDS: Final = ("LOCATION", "DATE", "TIME", "EMAIL", "PERSON", "MONEY", "NUMBER", "URL", "PHONE", "QUOTED")
"""The types of slots; a second one of a type is ``LOCATION_2``."""

SLOT: Final = re.compile(r"\{((?:" + "|".join(KINDS) + r")(?:_(?:[2-9]|[1-9][0-9]))?)\}")
REFERENCE: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)((?:\.(?:[A-Za-z_][A-Za-z0-9_]*|0|[1-9][0-9]{0,5}))*)")

STEPS_MAX: Final = 64
PHRASINGS_MAX: Final = 64
DEPTH_MAX: Final = 16

StepId = Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]
ToolName = Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]{0,127}$")]
TemplateId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
Phrasing = Annotated[str, Meta(max_length=4096)]

Value: TypeAlias = object
"""JSON: a text may hold slots, ``"{LOCATION}"``; ``{"ref": "s1.id"}`` is an output of another step."""


class Compensation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The tool that undoes a step, with its input."""

    tool: ToolName
    input: dict[str, Value] = {}


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One call of a tool."""

    id: StepId
    tool: ToolName
    input: dict[str, Value] = {}
    depends_on: tuple[StepId, ...] = ()
    compensation: Compensation | None = None


class PlanTemplate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A plan with typed slots, and the phrasings of the goals that it serves."""

    template: TemplateId
    phrasings: Annotated[tuple[Phrasing, ...], Meta(min_length=1, max_length=PHRASINGS_MAX)]
    steps: Annotated[tuple[Step, ...], Meta(min_length=1, max_length=STEPS_MAX)]
    description: Annotated[str, Meta(max_length=1000)] = ""


def texts(value: Value, pointer: str = "", depth: int = 0) -> Iterator[tuple[str, str, bool]]:
    """Every text in a value: (pointer, text, whether it is a reference). Raises PlanInvalid below 16 levels."""
    if depth > DEPTH_MAX:
        too_deep = f"the input of a step has more than {DEPTH_MAX} levels"
        raise PlanInvalid(too_deep, errors=[(pointer, too_deep)])
    if isinstance(value, str):
        yield pointer, value, False
    elif isinstance(value, Mapping):
        reference = value.get("ref")
        if len(value) == 1 and isinstance(reference, str):
            yield f"{pointer}/ref", reference, True
            return
        for key, inner in value.items():
            yield from texts(inner, f"{pointer}/{escape(str(key))}", depth + 1)
    elif isinstance(value, list | tuple):
        for place, inner in enumerate(value):
            yield from texts(inner, f"{pointer}/{place}", depth + 1)


def escape(key: str) -> str:
    """A key as a part of a JSON Pointer (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")


def slots_of(text: str) -> list[str]:
    """The slots of a text, in order, with repeats."""
    return SLOT.findall(text)


def slots_used(plan: PlanTemplate) -> set[str]:
    """The slots that the steps of a plan need."""
    values = [value for step in plan.steps for value in _inputs(step)]
    return {slot for value in values for _, text, is_ref in texts(value) if not is_ref for slot in slots_of(text)}


def tools_of(plan: PlanTemplate) -> set[str]:
    """The tools that a plan calls, compensations included."""
    tools = {step.tool for step in plan.steps}
    return tools | {step.compensation.tool for step in plan.steps if step.compensation is not None}


def parents_of(step: Step) -> set[str]:
    """The steps that a step waits for: those it names, and those whose output it reads."""
    references = (text for _, text, is_ref in texts(step.input) if is_ref)
    return set(step.depends_on) | {reference.split(".", 1)[0] for reference in references}


def _inputs(step: Step) -> list[dict[str, Value]]:
    return [step.input] if step.compensation is None else [step.input, step.compensation.input]


def decode(document: bytes | str) -> PlanTemplate:
    """A plan template from JSON. Raises PlanInvalid with the place."""
    try:
        plan = msgspec.json.decode(document, type=PlanTemplate)
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at `$")
        pointer = re.sub(r"[.\[\]]+", "/", place.rstrip("`")).rstrip("/")
        raise PlanInvalid(f"no plan template: {message}", errors=[(pointer, message)]) from None
    except msgspec.DecodeError as error:
        raise PlanInvalid(f"no JSON: {error}") from None
    check(plan)
    return plan


def check(plan: PlanTemplate, tools: Collection[str] | None = None) -> None:
    """Raises PlanInvalid with every place where the plan breaks a rule.

    Step ids differ; dependencies and references name other steps and form no cycle; a compensation may also refer to
    its own step; slots in the steps are slots of every phrasing and the other way round; tools are known, if
    ``tools`` is given.
    """
    errors = list(_faults(plan, tools))
    if errors:
        pointer, sentence = errors[0]
        raise PlanInvalid(f"plan {plan.template!r}: {sentence} ({pointer})", errors=errors)


def _faults(plan: PlanTemplate, tools: Collection[str] | None) -> Iterator[FieldError]:
    ids: set[str] = set()
    for place, step in enumerate(plan.steps):
        if step.id in ids:
            yield f"/steps/{place}/id", f"two steps are called {step.id!r}"
        ids.add(step.id)
    for place, step in enumerate(plan.steps):
        yield from _step_faults(step, f"/steps/{place}", ids, tools)
    used = slots_used(plan)
    for place, phrasing in enumerate(plan.phrasings):
        said = set(slots_of(phrasing))
        for slot in sorted(used - said):
            yield f"/phrasings/{place}", f"the steps need {{{slot}}}, which the phrasing does not have"
        for slot in sorted(said - used):
            yield f"/phrasings/{place}", f"no step uses {{{slot}}}"
    try:
        TopologicalSorter({step.id: parents_of(step) & ids for step in plan.steps}).prepare()
    except CycleError as error:
        yield "/steps", f"the steps wait for each other: {' → '.join(error.args[1])}"


def _step_faults(step: Step, pointer: str, ids: set[str], tools: Collection[str] | None) -> Iterator[FieldError]:
    compensation = step.compensation
    called = [(f"{pointer}/tool", step.tool)]
    values = [(f"{pointer}/input", step.input, ids - {step.id})]
    if compensation is not None:
        called.append((f"{pointer}/compensation/tool", compensation.tool))
        values.append((f"{pointer}/compensation/input", compensation.input, ids))
    for place, tool in called:
        if tools is not None and tool not in tools:
            yield place, f"there is no tool {tool!r}"
    for number, parent in enumerate(step.depends_on):
        if parent not in ids or parent == step.id:
            yield f"{pointer}/depends_on/{number}", f"{parent!r} is no other step"
    for place, value, known in values:
        for at, text, is_ref in texts(value, place):
            if not is_ref:
                continue
            match = REFERENCE.fullmatch(text)
            if match is None:
                yield at, f"{text!r} is no reference; write step.field or step.list.0"
            elif match[1] not in known:
                yield at, f"{match[1]!r} is no other step"
