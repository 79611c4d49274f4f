"""`apex graph`: a definition as a picture; with what comes after it, both pictures, or what differs in words."""

import argparse
import json
from pathlib import Path

from apex_fast.core import Definition
from apex_fast.core import compile as compile_definition
from apex_fast.drawing import difference, graph_of, mermaid, svg
from apex_fast.errors import InvalidInput

FORMATS = ("svg", "mermaid", "text")


def add_to(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb's grammar."""
    words = "draw a definition, or what a patch makes of it"
    verb = verbs.add_parser("graph", help=words, description=words.capitalize() + ".")
    verb.add_argument("file", type=Path, metavar="FILE", help="a definition (JSON)")
    verb.add_argument(
        "--after", type=Path, metavar="FILE", help="a JSON Patch on it (a list), or another definition: draw both"
    )
    verb.add_argument(
        "--format", choices=FORMATS, help="default: by the name of --out; else mermaid, with --after text (the changes)"
    )
    verb.add_argument("--out", type=Path, metavar="FILE", help="where to (default: standard output)")
    verb.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """0 once it is drawn."""
    before = compile_definition(_bytes(arguments.file))
    after = _after(before, arguments.after) if arguments.after else None
    drawn = _drawn(before, after, arguments.format or _usual(arguments.out, after is not None))
    if arguments.out is None:
        print(drawn, end="")
    else:
        arguments.out.write_text(drawn)
    return 0


def _usual(out: Path | None, compares: bool) -> str:
    suffix = out.suffix if out else ""
    usual = {".svg": "svg", ".mmd": "mermaid", ".md": "mermaid", ".txt": "text"}
    return usual.get(suffix, "text" if compares else "mermaid")


def _drawn(before: Definition, after: Definition | None, form: str) -> str:
    if after is None:
        if form == "text":
            raise InvalidInput("text says what differs: name what comes after with --after")
        graph = graph_of(before.canonical)
        return svg(("", graph)) if form == "svg" else mermaid(graph)
    found = difference(before.canonical, after.canonical)
    if form == "text":
        return found.text()
    graphs = graph_of(before.canonical, found.marks_before), graph_of(after.canonical, found.marks_after)
    if form == "svg":
        return svg(("before", graphs[0]), ("after", graphs[1]))
    return "".join(f"%% {title}\n{mermaid(graph)}" for title, graph in zip(("before", "after"), graphs, strict=True))


def _after(before: Definition, file: Path) -> Definition:
    data = _bytes(file)
    try:
        is_patch = isinstance(json.loads(data), list)
    except ValueError as error:
        raise InvalidInput(f"{file} is no JSON: {error}", code="BAD_JSON") from error
    return before.patched(data) if is_patch else compile_definition(data)


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InvalidInput(f"cannot read {file}: {error.strerror}") from error
