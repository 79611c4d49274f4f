"""Medians of rounds, ratios taken within a round, and the table that shows them."""

from dataclasses import replace

import pytest

from bench.rivals.measurement import Measurement, Round, medians
from bench.rivals.table import figure, markdown

OURS = Measurement(
    contestant="apex_fast",
    name="chain",
    unit="node",
    size=10,
    concurrency=128,
    rate_per_s=50_000.0,
    p50_ms=1.0,
    p99_ms=2.0,
    cpu_us_per_unit=20.0,
    load_cpu_us_per_unit=None,
    durability="fdatasync",
    seconds=10.0,
)
THEIRS = replace(OURS, contestant="restate", rate_per_s=2_500.0, cpu_us_per_unit=900.0)


def rounds(pairs: list[tuple[float, float]]) -> list[Round]:
    """Rounds with the given rates of both sides."""
    return [
        {
            ("apex_fast", "chain"): replace(OURS, rate_per_s=ours),
            ("restate", "chain"): replace(THEIRS, rate_per_s=theirs),
        }
        for ours, theirs in pairs
    ]


def by_contestant(results: list[Measurement]) -> dict[str, Measurement]:
    return {result.contestant: result for result in results}


def test_a_slow_round_moves_neither_the_median_nor_the_ratio() -> None:
    found = by_contestant(medians(rounds([(50_000, 2_500), (5_000, 250), (52_000, 2_600)])))
    assert found["apex_fast"].rate_per_s == 50_000
    assert found["apex_fast"].against == {"restate": pytest.approx(20.0)}
    assert found["restate"].against == {"apex_fast": pytest.approx(0.05)}
    assert found["apex_fast"].cpu_against == {"restate": pytest.approx(45.0)}
    assert (found["apex_fast"].rate_min_per_s, found["apex_fast"].rate_max_per_s) == (5_000, 52_000)
    assert found["apex_fast"].rounds == 3
    assert found["apex_fast"].seconds == 30.0


def test_a_round_that_a_contestant_missed_is_left_out_of_its_ratio() -> None:
    laps = rounds([(50_000, 2_500), (40_000, 2_500)])
    del laps[1]["restate", "chain"]
    found = by_contestant(medians(laps))
    assert found["apex_fast"].against == {"restate": pytest.approx(20.0)}
    assert found["restate"].rounds == 1


def test_several_ways_to_do_a_work_are_each_compared() -> None:
    unary = replace(OURS, name="starts.grpc_unary", rate_per_s=10_000.0)
    stream = replace(OURS, name="starts.grpc_stream", rate_per_s=100_000.0)
    rival = replace(THEIRS, name="starts", rate_per_s=1_000.0)
    laps: Round = {(one.contestant, one.name): one for one in (unary, stream, rival)}
    results = {one.name: one for one in medians([laps])}
    assert results["starts.grpc_unary"].against == {"restate": pytest.approx(10.0)}
    assert results["starts.grpc_stream"].against == {"restate": pytest.approx(100.0)}
    row = next(line for line in markdown(list(results.values())).splitlines() if "| restate |" in line)
    assert "10 (grpc_unary)" in row
    assert "100 (grpc_stream)" in row


def test_the_table_has_a_row_for_each_and_ours_first() -> None:
    lines = markdown(medians(rounds([(50_000, 2_500)]))).splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert "| apex_fast |" in lines[2]
    assert "| restate |" in lines[3]
    assert "2,500" in lines[3]
    assert "| 20 | 45 |" in lines[3]


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, ""), (0.00123, "0.00123"), (5.678, "5.68"), (123.4, "123"), (2845.0, "2,840"), (999.6, "1000")],
)
def test_three_significant_figures(value: float | None, shown: str) -> None:
    assert figure(value) == shown
