"""Values of slots from the labelled data, and goals made of them."""

import random
import re
from collections import defaultdict
from typing import Final

from apex_fast.planner import PlanTemplate
from apex_fast.planner.plan import SLOT
from bench.entities import records

# Labels of the data that are words for a place ("here", "my hotel"), not names of one.
NO_NAMES: Final = frozenset({"poi"})
CLOCK: Final = re.compile(
    r"\d:\d|\b(am|pm|a\.m|p\.m|o.clock|noon|midday|midnight|sunrise|sunset|dawn|morning|afternoon|evening|night|hours?|"
    r"minutes?|seconds?|half past|now|elevenses|lunch|dinner|breakfast|brunch|meal|supper|snack|dusk|food|tea)\b",
    re.I,
)
MONEY: Final = ("$50", "€1,250.50", "20 euros", "USD 300", "five hundred dollars", "£7", "1.5 million yen", "99 cents")


def values() -> dict[str, list[str]]:
    """Labelled texts for each type of slot, without repeats. MONEY is labelled in no set: a list of our own."""
    found: dict[str, set[str]] = defaultdict(set)
    for data in ("snips", "dstc8_spans", "presidio_synth_v2"):
        for record in records(data):
            for span in record.spans:
                kind = span.type
                if kind == "DATETIME":
                    bare = span.text.isdigit() or span.text.isalpha()
                    kind = "TIME" if CLOCK.search(span.text) and not re.search(r"\d{4}-", span.text) else "DATE"
                    if bare and data == "snips" and kind == "DATE" and not is_day(span.text):
                        continue  # "14", "seventeen": an hour or a day, only the sentence around it says which
                elif kind == "LOCATION" and span.raw in NO_NAMES:
                    continue
                elif kind == "DOMAIN":
                    kind = "URL"
                elif span.raw == "party_size_number":
                    kind = "NUMBER"
                elif span.raw in ("playlist", "object_name", "entity_name"):
                    kind = "QUOTED"
                # SNIPS takes the full stop of a sentence into some times: "one am."
                found[kind].add(re.sub(r"(?<=\b[ap]m)\.$", "", span.text.strip(), flags=re.I))
    found["MONEY"] = set(MONEY)
    return {kind: sorted(texts) for kind, texts in found.items()}


def is_day(text: str) -> bool:
    """A word of the calendar that stands alone."""
    return (
        re.fullmatch(
            r"(?i)\d{4}|today|tomorrow|\w+day|\w*(uary|ember|ober)|march|april|may|june|july|august|\w+ties", text
        )
        is not None
    )


def goal(chance: random.Random, phrasing: str, pool: dict[str, list[str]]) -> tuple[str, dict[str, str]]:
    """A phrasing with a labelled text in each slot, and the slots."""
    slots: dict[str, str] = {}

    def fill(slot: re.Match[str]) -> str:
        kind = slot[1].split("_")[0]
        slots[slot[1]] = chance.choice(pool[kind])
        return f'"{slots[slot[1]]}"' if kind == "QUOTED" else slots[slot[1]]

    return SLOT.sub(fill, phrasing), slots


def goals(seed: int, count: int, plans: list[PlanTemplate]) -> list[tuple[str, str, dict[str, str]]]:
    """(template, goal, slots): phrasings of all plans in turn, filled by chance."""
    chance = random.Random(seed)
    pool = values()
    phrasings = [(plan.template, phrasing) for plan in plans for phrasing in plan.phrasings]
    chance.shuffle(phrasings)
    made = []
    for number in range(count):
        template, phrasing = phrasings[number % len(phrasings)]
        text, slots = goal(chance, phrasing, pool)
        made.append((template, text, slots))
    return made
