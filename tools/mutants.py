"""Changes the machine on purpose, one place at a time, and sees whether the tests notice.

A sample of the mutants of `crates/machine` is drawn by a seed; each is tried with the machine's own tests and a few
hundred histories of the simulation, in a work tree of its own. What was found is kept after each one: a run that
was stopped goes on. In the end `bench/results/mutants` has a JSON file and a page for the commit.

    python tools/mutants.py                      60 of them, by seed 1
    python tools/mutants.py --sample 400 --shard 2/4
    python tools/mutants.py --only 'fold'        those whose name has this in it
"""

import argparse
import json
import os
import random
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / ".tools"
PROGRAM = TOOLS / "bin" / "cargo-mutants"
VERSION = "27.1.0"
STATE = ROOT / "target" / "mutants"
RESULTS = ROOT / "bench" / "results" / "mutants"
HISTORIES = 300
TIMEOUT_S = 300
WORDS = {"CaughtMutant": "caught", "MissedMutant": "missed", "Timeout": "timeout", "Unviable": "unviable"}


def run(*command: str, cwd: Path = ROOT, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """A command with its output kept."""
    return subprocess.run(command, cwd=cwd, env={**os.environ, **(env or {})}, capture_output=True, text=True)


def must(*command: str, cwd: Path = ROOT) -> str:
    """What a command prints; the end where it fails."""
    done = run(*command, cwd=cwd)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout


def install() -> None:
    """cargo-mutants of the pinned version, below `.tools`."""
    if PROGRAM.exists() and VERSION in run(str(PROGRAM), "mutants", "--version").stdout:
        return
    print(f"installing cargo-mutants {VERSION} …", flush=True)
    must("cargo", "install", "--locked", "--root", str(TOOLS), "cargo-mutants", "--version", VERSION)


def tree(commit: str) -> Path:
    """A work tree at the commit: mutants are made in place there, and nobody's files are touched."""
    place = STATE / "tree"
    if not place.exists():
        must("git", "worktree", "add", "--detach", "--force", str(place), commit)
    must("git", "checkout", "--detach", "--force", commit, cwd=place)
    return place


def mutants(place: Path) -> list[str]:
    """The name of every mutant: file, line, column and what is changed."""
    listed = must(str(PROGRAM), "mutants", "-p", "apex-machine", "--list", "--json", cwd=place)
    return sorted({mutant["name"] for mutant in json.loads(listed)})


TESTS = ["--", "--lib", "--test", "runs", "--test", "simulation", "--test", "histories"]
ENVIRONMENT = {"APEX_HISTORIES": str(HISTORIES), "CARGO_TARGET_DIR": str(STATE / "build"), "SIMULATION_SEEDS": "40"}


def baseline(place: Path) -> None:
    """The tests pass where nothing is changed: else every mutant would be caught."""
    for package, *names in (["apex-machine", "runs", "simulation"], ["apex-sim", "histories"]):
        tests = [word for name in names for word in ("--test", name)]
        done = run("cargo", "test", "--locked", "-q", "-p", package, "--lib", *tests, cwd=place, env=ENVIRONMENT)
        if done.returncode != 0:
            sys.exit(f"the tests fail without any change:\n{done.stdout[-4000:]}{done.stderr[-4000:]}")


def attempt(place: Path, name: str) -> str:
    """Tries one: `caught`, `missed`, `timeout` or `unviable`."""
    out = STATE / "out"
    chosen = [str(PROGRAM), "mutants", "-p", "apex-machine", "--re", f"^{re.escape(name)}$"]
    # The pattern lets mutants that leave out a field through as well; a shard of one is the one that is meant.
    listed = must(*chosen, "--list", cwd=place).splitlines()
    shard = f"{listed.index(name)}/{len(listed)}"
    command = [
        *chosen, "--shard", shard, "--test-package", "apex-machine,apex-sim", "--in-place", "--baseline", "skip",
        "--timeout", str(TIMEOUT_S), "--no-shuffle", "--output", str(out), *TESTS,
    ]  # fmt: skip
    done = run(*command, cwd=place, env=ENVIRONMENT)
    must("git", "checkout", "--force", ".", cwd=place)
    outcomes = json.loads((out / "mutants.out" / "outcomes.json").read_text())["outcomes"]
    found = {one["scenario"]["Mutant"]["name"]: WORDS[one["summary"]] for one in outcomes if one["summary"] in WORDS}
    if list(found) != [name]:
        sys.exit(f"{name}: {done.stdout}{done.stderr}")
    return found[name]


def page(found: dict[str, str], explained: dict[str, str], about: dict[str, object]) -> str:
    """The result for people."""
    counts = Counter(found.values())
    lines = [
        "# Mutants of the machine",
        "",
        f"Commit {about['commit']}, seed {about['seed']}, {len(found)} of {about['mutants']} mutants; each against the "
        f"machine's tests and {HISTORIES} histories.",
        "",
        "| caught | missed | timeout | does not compile |",
        "|---|---|---|---|",
        f"| {counts['caught']} | {counts['missed']} | {counts['timeout']} | {counts['unviable']} |",
    ]
    missed = sorted(name for name, outcome in found.items() if outcome == "missed")
    if missed:
        lines += [
            "",
            "Missed, and why:",
            "",
            *(f"- `{name}`: {explained.get(name, 'not looked at yet')}" for name in missed),
        ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """0 if every mutant that was tried is caught, or its survival is explained."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=60, help="how many; 0: all")
    parser.add_argument("--seed", type=int, default=1, help="of the sample")
    parser.add_argument("--shard", default="1/1", help="k/n: every nth of the sample, from the kth on")
    parser.add_argument("--only", default="", help="those whose name has this in it")
    parser.add_argument("--commit", default="HEAD", help="of the machine and of its tests")
    given = parser.parse_args()
    shard, shards = map(int, given.shard.split("/"))
    install()
    commit = must("git", "rev-parse", "--short=12", given.commit).strip()
    place = tree(commit)
    every = mutants(place)
    drawn = [name for name in every if given.only in name]
    random.Random(given.seed).shuffle(drawn)
    drawn = drawn[: given.sample or None][shard - 1 :: shards]
    kept = STATE / f"{commit}.json"
    found: dict[str, str] = json.loads(kept.read_text()) if kept.exists() else {}
    if any(name not in found for name in drawn):
        baseline(place)
    for number, name in enumerate(drawn, 1):
        if name not in found:
            begun = time.monotonic()
            found[name] = attempt(place, name)
            kept.write_text(json.dumps(found, indent=1, sort_keys=True))
            print(f"{number}/{len(drawn)} {found[name]:8} {time.monotonic() - begun:4.0f} s  {name}", flush=True)
    RESULTS.mkdir(parents=True, exist_ok=True)
    about: dict[str, object] = {"commit": commit, "seed": given.seed, "mutants": len(every)}
    notes = RESULTS / "explained.json"
    explained: dict[str, str] = json.loads(notes.read_text()) if notes.exists() else {}
    (RESULTS / f"{commit}.json").write_text(json.dumps({**about, "found": found}, indent=1, sort_keys=True) + "\n")
    (RESULTS / f"{commit}.md").write_text(page(found, explained, about))
    left = [name for name, outcome in found.items() if outcome == "missed" and name not in explained]
    print(f"{dict(Counter(found.values()))}; written to {RESULTS.relative_to(ROOT)}/{commit}.md")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
