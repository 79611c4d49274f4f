"""Installs, runs and compares: ``.venv/bin/python bench/rivals/run.py [--only restate] [--seconds 10] [--rounds 5]``.

Every round has each contestant on stage once, one after the other (A B C, A B C, …), with all the works;
figures are medians of the rounds, ratios medians of the ratios of each round. The table goes to standard
output, progress to standard error, JSON to ``bench/results/local`` or, with ``--publish``, to
``bench/results``.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Run as a file, Python puts this folder first, where a rival's folder would hide the package of the same
# name.
sys.path[0] = str(ROOT)

from apex_fast.cli.bench.disk import fdatasync_times_s  # noqa: E402
from apex_fast.cli.bench.machine import commit, machine  # noqa: E402
from apex_fast.cli.bench.measurement import quantile  # noqa: E402
from bench.rivals import apex, limits  # noqa: E402
from bench.rivals.contestant import Contestant, Stage  # noqa: E402
from bench.rivals.dbos.contestant import DBOS  # noqa: E402
from bench.rivals.install import install  # noqa: E402
from bench.rivals.langgraph.contestant import LANGGRAPH  # noqa: E402
from bench.rivals.locked import versions  # noqa: E402
from bench.rivals.measurement import Measurement, Round, medians  # noqa: E402
from bench.rivals.restate.contestant import RESTATE  # noqa: E402
from bench.rivals.table import markdown  # noqa: E402
from bench.rivals.temporal.contestant import TEMPORAL  # noqa: E402
from bench.rivals.works import WORKS, Work  # noqa: E402

RESULTS = ROOT / "bench" / "results"
SYNCS = 300
WARM_UP_SHARE = 0.2
WARM_UP_MAX_S = 3.0


def say(sentence: str) -> None:
    """Progress, for the person who waits."""
    print(sentence, file=sys.stderr, flush=True)


def measure(stage: Stage, work: Work, seconds: float) -> Measurement:
    """Warm up, then one lap with the CPU of the system's processes around it."""
    contestant = stage.contestant
    concurrency = contestant.concurrency.get(work.name, work.concurrency)
    warm_up_s = min(WARM_UP_MAX_S, WARM_UP_SHARE * seconds)
    stage.lap({"work": work.name, "concurrency": concurrency, "seconds": warm_up_s})
    system_before_s, load_before_s = stage.cpu_s()
    lap = stage.lap({"work": work.name, "concurrency": concurrency, "seconds": seconds})
    system_after_s, load_after_s = stage.cpu_s()
    units = lap["runs"] * work.nodes_per_run
    load_us = None
    if load_before_s is not None and load_after_s is not None:
        load_us = (load_after_s - load_before_s) * 1e6 / units
    return Measurement(
        contestant=contestant.name,
        name=work.name,
        unit=work.unit,
        size=work.nodes_per_run,
        concurrency=concurrency,
        rate_per_s=units / lap["seconds"],
        p50_ms=lap["p50_ms"],
        p99_ms=lap["p99_ms"],
        cpu_us_per_unit=(system_after_s - system_before_s) * 1e6 / units,
        load_cpu_us_per_unit=load_us,
        durability=contestant.durability,
        seconds=lap["seconds"],
        finished_per_s=lap["runs"] / (lap["seconds"] + lap["drain_s"]) if work.name == "starts" else None,
    )


def perform(name: str, contestant: Contestant | None, works: list[Work], seconds: float) -> list[Measurement]:
    """One round of one contestant; none stands for apex_fast."""
    if contestant is None:
        found = [one for work in works for one in apex.measure(work.name, seconds)]
    else:
        with Stage(contestant) as stage:
            found = [measure(stage, work, seconds) for work in works]
    for one in found:
        cpu = "" if one.cpu_us_per_unit is None else f", {one.cpu_us_per_unit:,.1f} µs of CPU each"
        say(f"  {name} {one.name}: {one.rate_per_s:,.0f} {one.unit}s a second{cpu}")
    return found


def disk(folder: Path) -> Measurement:
    """What one fdatasync costs at this moment."""
    folder.mkdir(parents=True, exist_ok=True)
    times_s = fdatasync_times_s(folder, SYNCS)
    p50_ms, p99_ms = quantile(times_s, 0.5) * 1e3, quantile(times_s, 0.99) * 1e3
    return Measurement(
        *("disk", "fdatasync", "sync", 256, 1, 1e3 / p50_ms, p50_ms, p99_ms, None, None, "fdatasync", 0.0)
    )


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    names = [apex.NAME, *(one.name for one in everyone())]
    parser = argparse.ArgumentParser(prog="bench/rivals/run.py", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", action="append", choices=names, help="this contestant; can be given again")
    parser.add_argument("--work", action="append", choices=list(WORKS), help="this work; can be given again")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of each lap (default 10)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds (default 5, the least for a figure)")
    parser.add_argument("--out", type=Path, default=RESULTS / "local", help="folder for rivals.json, rivals.md")
    parser.add_argument(
        "--publish",
        dest="out",
        action="store_const",
        const=RESULTS,
        help="write to bench/results, to be committed",
    )
    return parser.parse_args(argv)


def everyone() -> list[Contestant]:
    """All contestants but apex_fast."""
    return [RESTATE, DBOS, LANGGRAPH, TEMPORAL, *limits.contestants()]


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 when every chosen contestant finished every round."""
    options = arguments(argv)
    works = [work for work in WORKS.values() if not options.work or work.name in options.work]
    chosen: dict[str, Contestant | None] = {apex.NAME: None} | {one.name: one for one in everyone()}
    chosen = {name: one for name, one in chosen.items() if not options.only or name in options.only}
    if apex.NAME in chosen and not apex.is_built():
        say("apex_fast is not built (make build): the rivals are measured without it")
        del chosen[apex.NAME]
    failures: dict[str, str] = {}
    for name, contestant in list(chosen.items()):
        try:
            if contestant is not None:
                install(contestant)
        except (OSError, subprocess.CalledProcessError) as error:
            failures[name] = f"could not be installed: {error}"
            del chosen[name]

    where = machine()
    rounds: list[Round] = []
    for number in range(1, options.rounds + 1):
        say(f"round {number} of {options.rounds}")
        done: Round = {("disk", "fdatasync"): disk(ROOT / ".services" / "rivals")}
        for name, contestant in chosen.items():
            if name in failures:
                continue
            try:
                found = perform(name, contestant, works, options.seconds)
            except (OSError, RuntimeError, ValueError, subprocess.SubprocessError) as error:
                failures[name] = str(error)
                say(f"  {name} failed: {error}")
                continue
            done |= {(one.contestant, one.name): one for one in found}
        rounds.append(done)

    results = medians(rounds)
    report = {
        "taken": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(ROOT),
        "machine": where,
        "versions": versions([one for one in chosen.values() if one is not None]),
        "settings": {"rounds": options.rounds, "seconds": options.seconds},
        "failures": failures,
        "measurements": [asdict(one) for one in results],
    }
    options.out.mkdir(parents=True, exist_ok=True)
    table = markdown(results)
    (options.out / "rivals.json").write_text(json.dumps(report, indent=1) + "\n")
    (options.out / "rivals.md").write_text(table + "\n")
    sync = next(one for one in results if one.contestant == "disk")
    print(table)
    print(f"\nfdatasync of this disk: p50 {sync.p50_ms:.2f} ms, p99 {sync.p99_ms:.2f} ms; {where}")
    for name, reason in failures.items():
        print(f"{name} {reason}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
