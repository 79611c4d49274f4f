"""A page of the documentation as its fenced blocks, in order.

    ```python    runs; a first line `# hello.py` names the file that later blocks use
    ```console   commands behind `$ `, with what they answer below
    ```json      parses, and compiles where it is a definition or a node; "`order.json`:" right above names its file
    ```toml      settings; a first line `# apex.toml` names its file
    ```text      is not run

Nothing else may open a block, so that no example escapes by a slip.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LANGUAGES = frozenset({"python", "console", "json", "toml", "text"})
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[^\n`]*)$")
COMMENT_NAME = re.compile(r"# ([\w.-]+\.\w+)$")
NAME_ABOVE = re.compile(r"`([\w.-]+\.\w+)`:$")
PROMPT = "$ "


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, text, the file it stands for (or empty), and the line of its fence."""

    language: str
    text: str
    name: str
    line: int


@dataclass(frozen=True)
class Command:
    """A line behind `$ `, with its continuations, and what should come back (empty: anything)."""

    text: str
    expected: str

    @property
    def in_background(self) -> bool:
        """It ends in `&`."""
        return self.text.endswith("&") and not self.text.endswith("&&")


def blocks_of(page: Path) -> list[Block]:
    """The blocks of a page. Raises ValueError naming the line of a fence that is not one of `LANGUAGES`."""
    return list(_blocks(page.name, page.read_text(encoding="utf-8").splitlines()))


def _blocks(page: str, lines: list[str]) -> Iterator[Block]:
    above = ""
    numbered = enumerate(lines, 1)
    for number, line in numbered:
        fence = FENCE.match(line)
        if fence is None:
            above = line.strip() or above
            continue
        language = fence["language"].strip()
        if language not in LANGUAGES:
            raise ValueError(
                f"{page}, line {number}: a block is one of {', '.join(sorted(LANGUAGES))}; not {language!r}"
            )
        body: list[str] = []
        for _, inner in numbered:
            if inner.strip() == "```":
                break
            body.append(inner.removeprefix(fence["indent"]))
        else:
            raise ValueError(f"{page}, line {number}: the block does not end")
        named = COMMENT_NAME.match(body[0]) if body and language in {"python", "toml"} else NAME_ABOVE.search(above)
        yield Block(language, "\n".join(body) + "\n", named[1] if named and language != "text" else "", number)
        above = ""


def _goes_on(lines: list[str]) -> bool:
    """Whether a command is not complete: a backslash at its end, or a quote that is open."""
    return lines[-1].endswith("\\") or sum(line.count("'") for line in lines) % 2 == 1


def commands_of(block: Block) -> list[Command]:
    """The commands of a console block. Raises ValueError where it does not begin with one."""
    commands: list[tuple[list[str], list[str]]] = []
    for line in block.text.splitlines():
        if line.startswith(PROMPT):
            commands.append(([line.removeprefix(PROMPT)], []))
        elif not commands:
            raise ValueError(f"line {block.line}: a console block begins with `$ `")
        elif _goes_on(commands[-1][0]):
            commands[-1][0].append(line)
        else:
            commands[-1][1].append(line)
    return [Command("\n".join(text), "\n".join(answer).strip("\n")) for text, answer in commands]
