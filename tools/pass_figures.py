"""The workflows of the optimizer's guide, before and after the pass that each is shown for, as pictures.

`--write` draws them into `docs/figures/optimizer-NAME.svg`; without it they are drawn and compared with what stands
there. What is drawn is what the guide says: its definitions, and the pass of each `apex optimize NAME.json --pass
PASS`.
"""

import argparse
import re
import sys
from pathlib import Path

from apex_fast.core import compile as compile_definition
from apex_fast.drawing import difference, graph_of, svg
from apex_fast.optimizer import PassFolder, optimize

ROOT = Path(__file__).resolve().parent.parent
GUIDE = ROOT / "docs" / "guides" / "optimizer.md"
FIGURES = ROOT / "docs" / "figures"


def pictures() -> dict[str, str]:
    """The pictures by the names of their files, of the passes that change something."""
    guide = GUIDE.read_text()
    named = dict(re.findall(r"`(\w+)\.json`:\n\n```json\n(.*?)```", guide, re.DOTALL))
    passes = {one.name: one for one in PassFolder().passes()}
    drawn: dict[str, str] = {}
    for name, of in re.findall(r"^\$ apex optimize (\w+)\.json --pass ([\w-]+)", guide, re.MULTILINE):
        if of not in passes or name not in named:
            continue
        before = compile_definition(named[name].encode())
        after = optimize(before, [passes[of]]).definition
        if after.hash == before.hash:
            continue
        found = difference(before.canonical, after.canonical)
        was, now = graph_of(before.canonical, found.marks_before), graph_of(after.canonical, found.marks_after)
        drawn[f"optimizer-{name}.svg"] = svg(("before", was), ("after", now))
    return drawn


def main() -> int:
    """0 if the pictures are those of the guide (or were just drawn)."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--write", action="store_true")
    arguments = words.parse_args()
    drawn = pictures()
    kept = {file.name: file for file in FIGURES.glob("optimizer-*.svg")}
    if arguments.write:
        for name, file in kept.items():
            if name not in drawn:
                file.unlink()
        for name, picture in drawn.items():
            (FIGURES / name).write_text(picture)
        return 0
    wrong = [name for name in {*kept, *drawn} if name not in kept or kept[name].read_text() != drawn.get(name)]
    wrong += [name for name in drawn if f"../figures/{name}" not in GUIDE.read_text()]
    for name in sorted(wrong):
        print(
            f"docs/figures/{name} is not what the guide shows; run `python tools/pass_figures.py --write`",
            file=sys.stderr,
        )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
