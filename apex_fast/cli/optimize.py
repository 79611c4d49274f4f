"""`apex optimize`: what the optimizer's passes propose for a definition, and the definition with all of it."""

import argparse
import json
from pathlib import Path

from apex_fast.cli.screen import Screen
from apex_fast.core import compile as compile_definition
from apex_fast.errors import InvalidInput, NotFound
from apex_fast.optimizer import SHIPPED, Found, Optimized, PassFolder, Refusal, Step, optimize


def add_to(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb's grammar."""
    words = "show what the optimizer proposes for a definition; nothing is registered or changed"
    verb = verbs.add_parser("optimize", help=words, description=words.capitalize() + ".")
    verb.add_argument("file", type=Path, metavar="FILE", help="a definition (JSON)")
    verb.add_argument("--pass", action="append", dest="names", metavar="NAME", help="ask this pass only; repeatable")
    verb.add_argument("--passes", action="append", type=Path, metavar="FOLDER", help="more passes (*.wasm); repeatable")
    verb.add_argument("--profile", type=Path, metavar="FILE", help="what was observed of its runs (JSON)")
    verb.add_argument("--json", action="store_true", help="print one JSON object")
    verb.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """0 if every pass answered, 1 if one was refused."""
    definition = compile_definition(_bytes(arguments.file))
    passes = _chosen(PassFolder([SHIPPED, *(arguments.passes or [])]).passes(), arguments.names)
    profile = _bytes(arguments.profile) if arguments.profile else b"null"
    _check_profile(profile)
    done = optimize(definition, passes, profile)
    if arguments.json:
        described = {"steps": [_described(step) for step in done.steps], "definition": _document(done)}
        print(json.dumps(described, indent=2))
    else:
        _show(Screen(), done)
    return 1 if any(isinstance(step.outcome, Refusal) for step in done.steps) else 0


def _chosen(passes: list[Found], names: list[str] | None) -> list[Found]:
    """The passes of these names, in this order; without names all of them."""
    if not names:
        return passes
    known = {one.name: one for one in passes}
    for name in names:
        if name not in known:
            raise NotFound(f"there is no pass {name!r}; there are: {', '.join(known) or 'none'}", code="PASS_NOT_FOUND")
    return [known[name] for name in names]


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InvalidInput(f"cannot read {file}: {error.strerror}") from error


def _check_profile(profile: bytes) -> None:
    try:
        json.loads(profile)
    except ValueError as error:
        raise InvalidInput(f"the profile is no JSON: {error}", code="BAD_JSON") from error


def _document(done: Optimized) -> object:
    return json.loads(done.definition.canonical)


def _described(step: Step) -> dict[str, object]:
    """A step as JSON: a patch, or a refusal."""
    said: dict[str, object] = {"pass": step.name, "hash": step.hash}
    outcome = step.outcome
    if isinstance(outcome, Refusal):
        return {**said, "refusal": {"code": outcome.code, "reason": outcome.reason}}
    patch = {
        "operations": json.loads(bytes(outcome.operations)),
        "findings": [{"nodes": one.nodes, "reason": one.reason} for one in outcome.findings],
        "expected": {
            "calls": outcome.expected.calls,
            "work_s": outcome.expected.work_s,
            "latency_s": outcome.expected.latency_s,
        },
        "cacheable": outcome.cacheable,
    }
    return {**said, "patch": patch}


def _show(screen: Screen, done: Optimized) -> None:
    """The steps for a person, then the definition."""
    for step in done.steps:
        screen.line(f"{screen.paint(step.name, 'bold')} {screen.paint(step.hash[:19], 'dim')}")
        if isinstance(step.outcome, Refusal):
            screen.bad(f"{step.outcome.code}: {step.outcome.reason}")
            continue
        for finding in step.outcome.findings:
            screen.good(finding.reason)
        for operation in json.loads(bytes(step.outcome.operations)):
            value = f" {json.dumps(operation['value'])}" if "value" in operation else ""
            screen.line(f"     {operation['op']} {operation['path']}{value}")
    if not done.steps:
        screen.line("no pass proposes anything")
    screen.line(json.dumps(_document(done), indent=2))
