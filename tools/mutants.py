"""Changes the machine on purpose, one place at a time, and sees whether the tests notice.

A sample of the mutants of `crates/machine`, as cargo-mutants makes them, is drawn by a seed. All of them are built at
once: in a work tree of its own each function holds its changed bodies beside its own, and a number in the environment
says which is in force, so a mutant costs a run of the tests and no build. The few that cannot live beside the others
(a constant, a function that gives an `impl` type) are built alone. A mutant meets the machine's own tests, then its
simulation, then a few hundred histories, until one fails. What was found is kept after each one: a run that was
stopped goes on. In the end `bench/results/mutants` has a JSON file and a page for the commit.

    python tools/mutants.py                      60 of them, by seed 1
    python tools/mutants.py --sample 400 --shard 2/4
    python tools/mutants.py --sample 0 --only 'run/(saga|spawn)'     all whose name matches
"""

import argparse
import json
import os
import random
import re
import resource
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / ".tools"
PROGRAM = TOOLS / "bin" / "cargo-mutants"
VERSION = "27.1.0"
STATE = ROOT / "target" / "mutants"
RESULTS = ROOT / "bench" / "results" / "mutants"
HISTORIES = 300
MEMORY_BYTES_MAX = 4 << 30
TIMEOUT_S = 300
TESTS = {
    "apex_machine": "crates/machine",
    "runs": "crates/machine",
    "simulation": "crates/machine",
    "histories": "crates/sim",
}
BUILD = [
    "cargo", "test", "--locked", "--no-run", "--message-format", "json", "-p", "apex-machine", "-p", "apex-sim",
    "--lib", "--test", "runs", "--test", "simulation", "--test", "histories",
]  # fmt: skip
ENVIRONMENT = {
    "APEX_HISTORIES": str(HISTORIES),
    "SIMULATION_SEEDS": "40",
    "CARGO_TARGET_DIR": str(STATE / "build"),
    "CARGO_PROFILE_DEV_DEBUG": "0",
    "RUSTFLAGS": "--cap-lints=allow",
}
SWITCH = """
/// The number of the change that is in force; 0: none.
#[doc(hidden)]
pub fn mutant() -> u32 {
    static NUMBER: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
    *NUMBER.get_or_init(|| std::env::var("APEX_MUTANT").map_or(0, |number| number.parse().expect("a number")))
}
"""


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


@dataclass(frozen=True)
class Mutant:
    """One change: the characters from `start` to `end` of the file give way to `replacement`."""

    name: str
    file: str
    start: int
    end: int
    replacement: str
    body: tuple[int, int] | None
    """Where the body of its function begins and ends, braces left out; None: it has to be built alone."""

    def key(self, text: str) -> str:
        """What an explanation is kept by: no number of a line, but the line."""
        begin = text.rfind("\n", 0, self.start) + 1
        line = text[begin : text.find("\n", begin)].strip()
        return f"{self.file}: {re.sub(r'^[^ ]*: ', '', self.name)}: {line}"


def offset(text: str, at: dict[str, int]) -> int:
    """Where a line and a column stand in the text, both counted from 1."""
    return sum(map(len, text.splitlines(keepends=True)[: at["line"] - 1])) + at["column"] - 1


def mutants(place: Path) -> list[Mutant]:
    """Every mutant, by name."""
    listed = json.loads(must(str(PROGRAM), "mutants", "-p", "apex-machine", "--list", "--json", cwd=place))
    found: dict[str, Mutant] = {}
    texts = {file: (place / file).read_text() for file in {one["file"] for one in listed}}
    for one in listed:
        text = texts[one["file"]]
        body = None
        if one["function"]:
            begin, close = (offset(text, one["function"]["span"][edge]) for edge in ("start", "end"))
            head = re.compile(r"(?:\s*(?://|#\[).*\n)*[^{]*\{").match(text, begin, close)
            if head is None:
                sys.exit(f"{one['name']}: its function has no body")
            if not re.search(r"->\s*impl\b", text[begin : head.end()]):
                body = (head.end(), close - 1)
        start, end = (offset(text, one["span"][edge]) for edge in ("start", "end"))
        found[one["name"]] = Mutant(one["name"], one["file"], start, end, one["replacement"], body)
    return [found[name] for name in sorted(found)]


def write(place: Path, numbered: dict[int, Mutant]) -> None:
    """Writes every change of these beside what it changes, chosen by its number; number 0 stands for no choice."""
    must("git", "checkout", "--force", ".", cwd=place)
    by_file: dict[str, dict[tuple[int, int], list[int]]] = defaultdict(lambda: defaultdict(list))
    for number, one in numbered.items():
        by_file[one.file][one.body if number and one.body else (one.start, one.end)].append(number)
    for file, places in by_file.items():
        text = (place / file).read_text()
        for (begin, end), numbers in sorted(places.items(), reverse=True):
            if numbers == [0]:
                text = text[:begin] + numbered[0].replacement + text[end:]
                continue
            arms = []
            for number in numbers:
                one = numbered[number]
                changed = text[begin : one.start] + one.replacement + text[one.end : end]
                arms.append(f"\n//MUTANT {number}\n{number} => {{{changed}\n}}")
            arms.append(f"\n//MUTANT 0\n_ => {{{text[begin:end]}\n}}")
            text = f"{text[:begin]} match crate::mutant() {{{''.join(arms)}\n}}\n//MUTANT 0\n{text[end:]}"
        (place / file).write_text(text)
    lib = place / "crates/machine/src/lib.rs"
    lib.write_text(lib.read_text() + SWITCH)


def blamed(place: Path, spans: list[Any]) -> int:
    """The number of the change in which an error of the compiler lies; 0: in none."""
    for span in spans:
        while span and not span["file_name"].startswith("crates/machine/src/"):
            span = (span["expansion"] or {}).get("span")
        if span and span["is_primary"]:
            above = (place / span["file_name"]).read_text().split("\n")[: span["line_start"]]
            marks = [line for line in above if line.startswith("//MUTANT ")]
            return int(marks[-1].split()[1]) if marks else 0
    return 0


def build(place: Path) -> tuple[dict[str, Path], set[int], str]:
    """The tests by name, or the numbers of the changes that do not compile; and what the compiler said."""
    done = run(*BUILD, cwd=place, env=ENVIRONMENT)
    said = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode == 0:
        return {one["target"]["name"]: Path(one["executable"]) for one in said if one.get("executable")}, set(), ""
    errors = [one["message"] for one in said if one.get("message", {}).get("level") == "error"]
    wrong = {blamed(place, one["spans"]) for one in errors if one["spans"]}
    return {}, wrong, "".join(one["rendered"] for one in errors) + done.stderr


def meet(place: Path, programs: dict[str, Path], number: int, patience: dict[str, float]) -> str:
    """Runs the tests with one change in force: `caught`, `missed` or `timeout`."""
    for test, folder in TESTS.items():
        try:
            done = subprocess.run(
                [programs[test], "-Z", "unstable-options", "--fail-fast"],
                cwd=place / folder,
                env={**os.environ, **ENVIRONMENT, "APEX_MUTANT": str(number), "RUSTC_BOOTSTRAP": "1"},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=patience[test],
                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX)),
            )
        except subprocess.TimeoutExpired:
            return "timeout"
        if done.returncode != 0:
            return "caught"
    return "missed"


def baseline(place: Path, programs: dict[str, Path]) -> dict[str, float]:
    """How long each test may take: it passes where no change is in force, else every mutant would be caught."""
    patience = {}
    for test, folder in TESTS.items():
        begun = time.monotonic()
        done = run(str(programs[test]), cwd=place / folder, env=ENVIRONMENT)
        if done.returncode != 0:
            sys.exit(f"{test} fails without any change:\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
        patience[test] = 20 + 10 * (time.monotonic() - begun)
    return patience


def outcomes(place: Path, asked: list[Mutant], jobs: int) -> Iterator[tuple[Mutant, str]]:
    """Each of these with `caught`, `missed`, `timeout` or `unviable`: it does not compile."""
    beside = {number: one for number, one in enumerate(asked, 1) if one.body}
    programs: dict[str, Path] = {}
    while beside and not programs:
        write(place, beside)
        programs, wrong, said = build(place)
        if not programs and not wrong & beside.keys():
            sys.exit(f"no change is to blame:\n{said}")
        yield from ((beside.pop(number), "unviable") for number in sorted(wrong & beside.keys()))
    if programs:
        patience = baseline(place, programs)
        pool = ThreadPoolExecutor(jobs)
        try:
            yield from zip(beside.values(), pool.map(lambda n: meet(place, programs, n, patience), beside), strict=True)
        finally:
            pool.shutdown(cancel_futures=True)
    for one in asked:
        if not one.body:
            write(place, {0: one})
            programs, _, _ = build(place)
            yield one, meet(place, programs, 0, dict.fromkeys(TESTS, TIMEOUT_S)) if programs else "unviable"


def page(result: dict[str, Any], notes: dict[str, str]) -> str:
    """The result for people."""
    found: dict[str, str] = result["found"]
    counts = Counter(found.values())
    lines = [
        "# Mutants of the machine",
        "",
        f"Commit {result['commit']}; {len(found)} of {result['mutants']} mutants, each against the machine's tests and "
        f"{HISTORIES} histories.",
        "",
        *(f"- {draw}" for draw in result["draws"]),
        "",
        "| caught | missed | timeout | does not compile |",
        "|---|---|---|---|",
        f"| {counts['caught']} | {counts['missed']} | {counts['timeout']} | {counts['unviable']} |",
    ]
    if counts["timeout"]:
        lines += ["", "A timeout is a loop that does not end, or a computer with too much else to do."]
    if counts["missed"]:
        lines += ["", "Missed, and why:", ""]
        lines += [f"- `{name}`: {notes[name]}" for name, outcome in sorted(found.items()) if outcome == "missed"]
    return "\n".join(lines) + "\n"


def main() -> int:
    """0 if every mutant that was tried is noticed, or its survival is explained."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=60, help="how many; 0: all")
    parser.add_argument("--seed", type=int, default=1, help="of the sample")
    parser.add_argument("--shard", default="1/1", help="k/n: every nth of the sample, from the kth on")
    parser.add_argument("--only", default="", help="those in whose name this regular expression is found")
    parser.add_argument("--jobs", type=int, default=1, help="mutants that meet the tests at a time")
    parser.add_argument("--commit", default="HEAD", help="of the machine and of its tests")
    given = parser.parse_args()
    shard, shards = map(int, given.shard.split("/"))
    install()
    commit = must("git", "rev-parse", "--short=12", given.commit).strip()
    place = tree(commit)
    every = mutants(place)
    explained: dict[str, str] = json.loads((RESULTS / "explained.json").read_text())
    notes = {one.name: explained.get(one.key((place / one.file).read_text()), "not looked at yet") for one in every}
    drawn = [one for one in every if re.search(given.only, one.name)]
    random.Random(given.seed).shuffle(drawn)
    drawn = drawn[: given.sample or None][shard - 1 :: shards]

    kept = STATE / f"{commit}.json"
    result: dict[str, Any] = {"commit": commit, "draws": [], "found": {}}
    if kept.exists():
        result = json.loads(kept.read_text())
    result["mutants"] = len(every)
    found: dict[str, str] = result["found"]
    left = [one for one in drawn if one.name not in found]
    for number, (one, outcome) in enumerate(outcomes(place, left, given.jobs), 1):
        found[one.name] = outcome
        kept.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n")
        print(f"{number}/{len(left)} {outcome:8} {one.name}", flush=True)
    draw = f"{len(drawn)} by seed {given.seed}" + f" of those that match `{given.only}`" * bool(given.only)
    result["draws"] += [draw] if draw not in result["draws"] else []
    kept.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n")
    (RESULTS / kept.name).write_text(kept.read_text())
    (RESULTS / f"{commit}.md").write_text(page(result, notes))
    print(f"{dict(Counter(found.values()))}; written to {RESULTS.relative_to(ROOT)}/{commit}.md")
    return any(outcome == "missed" and notes[name] == "not looked at yet" for name, outcome in found.items())


if __name__ == "__main__":
    sys.exit(main())
