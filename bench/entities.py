"""How well entities are recognised: precision, recall and F1 per type on SNIPS, DSTC8 and Presidio.

``python -m bench.entities [--split dev|test|all] [--json] [--show TYPE]``

A prediction counts as right when its span is exactly the label's (``exact``), or when the two overlap (``overlap``).
Labels of the type DATETIME are days or times of day: there a DATE and a TIME side by side are one prediction. Half of
each set by the SHA-256 of the record's id is ``dev``; rules and lists may be changed by what it shows, never by what
``test`` shows. MONEY, NUMBER and QUOTED are labelled in none of the sets.
"""

import argparse
import gzip
import hashlib
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import msgspec

from apex_fast.core import Recognizer

DATA: Final = Path(__file__).parent.parent / "tests" / "data" / "entities"
WHEN: Final = frozenset({"DATE", "TIME", "DATETIME"})
# Data set -> row -> (types of its labels, types of our predictions).
ROWS: Final[dict[str, dict[str, tuple[frozenset[str], frozenset[str]]]]] = {
    "snips": {"LOCATION": (frozenset({"LOCATION"}), frozenset({"LOCATION"})), "DATE or TIME": (WHEN, WHEN)},
    "dstc8_spans": {kind: (frozenset({kind}), frozenset({kind})) for kind in ("LOCATION", "DATE", "TIME")},
    "presidio_synth_v2": {
        "LOCATION": (frozenset({"LOCATION"}), frozenset({"LOCATION"})),
        "PERSON": (frozenset({"PERSON"}), frozenset({"PERSON"})),
        "EMAIL": (frozenset({"EMAIL"}), frozenset({"EMAIL"})),
        "PHONE": (frozenset({"PHONE"}), frozenset({"PHONE"})),
        "URL": (frozenset({"DOMAIN"}), frozenset({"URL"})),
        "DATE or TIME": (WHEN, WHEN),
    },
}


class Span(msgspec.Struct, frozen=True):
    """A label; offsets in characters."""

    start: int
    end: int
    text: str
    type: str
    raw: str


class Record(msgspec.Struct, frozen=True):
    """A labelled sentence."""

    id: str
    text: str
    spans: list[Span]


@dataclass(frozen=True)
class Score:
    """Counts of one type, and what they come to (``None`` where nothing was labelled or found)."""

    data: str
    type: str
    labels: int
    found: int
    right: int
    overlapping: int
    precision: float | None
    recall: float | None
    f1: float | None
    overlap_f1: float | None


def split_of(record_id: str) -> str:
    """``dev`` or ``test``."""
    return "test" if hashlib.sha256(record_id.encode()).digest()[0] & 1 else "dev"


def records(data: str, split: str = "all") -> Iterator[Record]:
    """The labelled sentences of a set."""
    with gzip.open(DATA / f"{data}.jsonl.gz") as lines:
        for line in lines:
            record = msgspec.json.decode(line, type=Record)
            if split in ("all", split_of(record.id)):
                yield record


def predictions(recognizer: Recognizer, text: str, kinds: frozenset[str]) -> list[tuple[int, int]]:
    """Spans of the given kinds; a day and a time side by side are one."""
    spans: list[tuple[int, int]] = []
    for entity in recognizer.extract(text):
        if entity.kind not in kinds:
            continue
        between = text[spans[-1][1] : entity.start].strip(" ,") if spans else "-"
        if kinds is WHEN and between in ("", "at"):
            spans[-1] = (spans[-1][0], entity.end)
        else:
            spans.append((entity.start, entity.end))
    return spans


def ratio(part: float, whole: float) -> float | None:
    """``part / whole``, rounded, or None of nothing."""
    return round(part / whole, 4) if whole else None


def score(recognizer: Recognizer, data: str, row: str, split: str) -> Score:
    """One row of the table."""
    wanted, kinds = ROWS[data][row]
    labels = found = right = overlapping = covered = 0
    for record in records(data, split):
        truth = [(span.start, span.end) for span in record.spans if span.type in wanted]
        ours = predictions(recognizer, record.text, kinds)
        labels += len(truth)
        found += len(ours)
        right += len(set(truth) & set(ours))
        overlapping += sum(any(a < d and c < b for c, d in truth) for a, b in ours)
        covered += sum(any(a < d and c < b for c, d in ours) for a, b in truth)
    loose_p, loose_r = overlapping / found if found else 0.0, covered / labels if labels else 0.0
    return Score(
        data=data,
        type=row,
        labels=labels,
        found=found,
        right=right,
        overlapping=overlapping,
        precision=ratio(right, found),
        recall=ratio(right, labels),
        f1=ratio(2 * right, found + labels),
        overlap_f1=ratio(2 * loose_p * loose_r, loose_p + loose_r),
    )


def scores(split: str) -> list[Score]:
    """All rows."""
    recognizer = Recognizer()
    return [score(recognizer, data, row, split) for data, rows in ROWS.items() for row in rows]


def show(kind: str, split: str) -> None:
    """What was missed and what was wrong, a line each."""
    recognizer = Recognizer()
    for data, rows in ROWS.items():
        for row, (wanted, kinds) in rows.items():
            if row != kind:
                continue
            for record in records(data, split):
                truth = {(span.start, span.end) for span in record.spans if span.type in wanted}
                ours = set(predictions(recognizer, record.text, kinds))
                for sign, spans in (("missed", truth - ours), ("wrong ", ours - truth)):
                    for start, end in sorted(spans):
                        print(f"{data[:6]} {sign} {record.text[start:end]!r:32} in {record.text[:140]!r}")


def main(arguments: list[str] | None = None) -> int:
    """Prints the table, or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", choices=("dev", "test", "all"), default="test")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--show", metavar="TYPE", help="list the errors of a row instead")
    options = parser.parse_args(arguments)
    if options.show:
        show(options.show, options.split)
        return 0
    rows = scores(options.split)
    if options.json:
        json.dump({"name": "entities", "split": options.split, "rows": [asdict(row) for row in rows]}, sys.stdout)
        print()
        return 0
    print(f"{'data':18} {'type':13} {'labels':>6} {'found':>6} {'P':>6} {'R':>6} {'F1':>6} {'overlap F1':>11}")
    for row in rows:
        figures = (row.precision, row.recall, row.f1, row.overlap_f1)
        p, r, f1, loose = ("-" if figure is None else f"{figure:.3f}" for figure in figures)
        print(f"{row.data:18} {row.type:13} {row.labels:6} {row.found:6} {p:>6} {r:>6} {f1:>6} {loose:>11}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
