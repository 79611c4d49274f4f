"""Goals made of labelled texts bind exactly those; goals outside every template get no plan."""

import gzip
import json

import pytest

from apex_fast.adapters.memory.plan_store import MemoryPlanStore
from apex_fast.core import Recognizer
from apex_fast.planner import Planner, shipped_plans
from apex_fast.planner.plan import tools_of
from bench.entities import DATA, records
from tests.unit.planner.labelled import goals

SEED = 1
GOALS = 1_000

# Requests of TaskBench that say, word for word, what a shipped template does.
SERVED = {
    "Book a flight from New York to Los Angeles on December 1, 2022.",
    "Book a flight from New York to Los Angeles on December 1st, 2022.",
    "Book a flight from New York to Los Angeles on May 20, 2023.",
    "Get the weather forecast for New York City on July 1st, 2022.",
    "Get the weather forecast for New York City on May 1, 2023",
    "Please book me a flight from New York to London on December 1st, 2022.",
    "Please book me a flight from New York to London on December 25th, 2022.",
    "What is the weather in Seattle on 2023-02-01?",
    "What's the weather in New York City on March 1, 2022?",
}


@pytest.fixture(scope="module")
def planner() -> Planner:
    plans = shipped_plans()
    return Planner(Recognizer(), MemoryPlanStore(), None, {tool for plan in plans for tool in tools_of(plan)})


def lines(name: str) -> list[str]:
    with gzip.open(DATA / name) as file:
        return [json.loads(line)["goal"] for line in file]


def test_a_thousand_goals_bind_exactly_the_labelled_text(planner: Planner) -> None:
    wrong = []
    for template, goal, slots in goals(SEED, GOALS, shipped_plans()):
        planned = planner.lookup(goal)
        if planned is None or (planned.template_id, planned.slots) != (template, slots):
            wrong.append((goal, slots, planned))
    assert not wrong, f"seed {SEED}: {len(wrong)} of {GOALS} goals, the first is {wrong[0]}"


def test_other_thousands_bind_exactly_or_not_at_all(planner: Planner) -> None:
    """An odd value may leave two readings (a place called John Day, then a day): then there is no plan."""
    refused = 0
    for seed in range(2, 7):
        for template, goal, slots in goals(seed, GOALS, shipped_plans()):
            planned = planner.lookup(goal)
            if planned is None:
                refused += 1
            else:
                assert (planned.template_id, planned.slots) == (template, slots), f"seed {seed}: {goal}"
    assert refused <= 5, f"seeds 2 to 6: {refused} of 5,000 goals got no plan"


def test_out_of_scope_requests_get_no_plan(planner: Planner) -> None:
    found = [goal for goal in lines("clinc_oos.jsonl.gz") if planner.lookup(goal) is not None]
    assert found == []


def test_of_the_requests_of_taskbench_only_those_that_a_template_serves_get_a_plan(planner: Planner) -> None:
    requests = [goal for goal in lines("taskbench_goals.jsonl.gz") if 0 < len(goal.strip()) <= 4096]
    assert {goal for goal in requests if planner.lookup(goal) is not None} == SERVED


@pytest.mark.parametrize("data", ["dstc8_spans", "presidio_synth_v2"])
def test_sentences_of_other_conversations_get_no_plan(planner: Planner, data: str) -> None:
    assert [record.text for record in records(data) if planner.lookup(record.text) is not None] == []


@pytest.mark.parametrize(
    "goal",
    [
        "Do not book flight to Paris tomorrow and send confirmation to john@example.com",
        "Book flight to Paris tomorrow and send confirmation to john@example.com and then cancel it",
        "Book flight to Paris tomorrow or Rome on Monday and send confirmation to john@example.com",
        "Book flight to Paris and Rome tomorrow and send confirmation to john@example.com",
        "Book flight to Paris with a stop in Rome tomorrow and send confirmation to john@example.com",
        "Schedule a meeting with Anna and John on Monday at noon",
        "book a flight from denver to austin on the 16th and returning on the 20th",
        "Book flight to Paris and send confirmation to john@example.com",
        "Book flight to Paris tomorrow and send confirmation to john",
        'Roll back "a" and notify a@b.org, then deploy "c" to production and notify a@b.org',
    ],
)
def test_what_says_more_or_less_than_a_template_gets_no_plan(planner: Planner, goal: str) -> None:
    assert planner.lookup(goal) is None
