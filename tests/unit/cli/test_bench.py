"""`apex bench`: medians and ratios by rounds, the loops of the load, the JSON that the rivals' runner reads."""

import asyncio
import json
from pathlib import Path

import pytest

from apex_fast.cli.bench.load import Done, closed_loop, open_loop
from apex_fast.cli.bench.measurement import Measurement, medians
from apex_fast.cli.main import main

KEYS = {"name", "unit", "size", "concurrency", "rate_per_s", "durability", "seconds"}


def lap(name: str, rate_per_s: float, cpu_us: float | None = None) -> Measurement:
    return Measurement(
        name=name,
        unit="node",
        size=1,
        concurrency=1,
        rate_per_s=rate_per_s,
        seconds=1.0,
        durability="none",
        cpu_us_per_unit=cpu_us,
    )


def test_a_ratio_is_the_median_of_the_ratios_of_each_round() -> None:
    # The second round was disturbed on both sides alike: the ratio stays.
    rounds = [
        [lap("chain", 200, 10), lap("limit", 100, 20)],
        [lap("chain", 20, 90), lap("limit", 10, 180)],
        [lap("chain", 210, 10), lap("limit", 100, 20)],
    ]
    (found,) = medians(rounds, {"chain": ("limit",)})
    assert found.against == {"limit": 2.0}
    assert found.cpu_against == {"limit": 2.0}
    assert (found.rate_per_s, found.rate_min_per_s, found.rate_max_per_s) == (200, 20, 210)
    assert found.limits["limit"].rate_per_s == 100
    assert (found.rounds, found.seconds) == (3, 3.0)


def test_limits_are_named_by_the_work_too() -> None:
    rounds = [[lap("replay.whole", 1), lap("replay.snapshot", 2), lap("scan", 4)]]
    whole, snapshot = medians(rounds, {"replay": ("scan",)})
    assert (whole.against, snapshot.against) == ({"scan": 0.25}, {"scan": 0.5})


async def test_a_closed_loop_sends_again_what_was_refused() -> None:
    sent = 0

    def send(done: Done) -> None:
        nonlocal sent
        sent += 1
        asyncio.get_running_loop().call_later(0.001, done, sent % 3 != 0)

    found = await closed_loop(send, 4, 0.1)
    assert found.refused > 0
    assert found.units + found.refused == sent
    assert found.seconds >= 0.1


async def test_an_open_loop_does_not_slow_down_and_counts_from_when_it_was_due() -> None:
    waiting: list[Done] = []

    async def answer() -> None:
        await asyncio.sleep(0.2)
        for done in waiting:
            done(True)

    answering = asyncio.create_task(answer())
    found = await open_loop(waiting.append, 1_000, 0.1)
    await answering
    assert found.units == 100
    assert found.times_s[0] >= 0.09


@pytest.mark.parametrize(
    ("name", "names"),
    [("starts", {"starts.grpc_unary", "starts.grpc_stream", "starts.http"}), ("chain", {"chain"}), ("fan", {"fan"})],
)
def test_the_json_that_the_runner_of_the_rivals_reads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, names: set[str]
) -> None:
    argv = ["bench", name, "--json", "--seconds", "0.3", "--rounds", "1", "--folder", str(tmp_path)]
    assert main(argv) == 0
    found = json.loads(capsys.readouterr().out)
    assert {one["name"] for one in found} == names
    assert all(one.keys() >= KEYS and one["rate_per_s"] > 0 and one["commit"] for one in found)
    assert not list(tmp_path.iterdir())
