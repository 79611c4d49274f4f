"""`apex bench`: medians and ratios by rounds, the loops of the load, the JSON that the rivals' runner reads."""

import asyncio
import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from apex_fast.cli.bench.load import Done, closed_loop, open_loop
from apex_fast.cli.bench.measurement import Measurement, medians
from apex_fast.cli.bench.plot import svg
from apex_fast.cli.main import main

SVG = "{http://www.w3.org/2000/svg}"
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
        while len(waiting) < 100:  # noqa: ASYNC110 (nobody tells)
            await asyncio.sleep(0.01)
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


async def test_a_closed_loop_of_so_many_units_sends_no_more() -> None:
    sent = 0

    def send(done: Done) -> None:
        nonlocal sent
        sent += 1
        # The first answer is a refusal: it is sent again, and counts once.
        asyncio.get_running_loop().call_soon(done, sent > 1)

    found = await closed_loop(send, 4, 60, 10)
    assert (found.units, found.refused, sent) == (10, 1, 11)


async def test_a_closed_loop_of_fewer_units_than_may_be_in_flight_ends() -> None:
    def send(done: Done) -> None:
        asyncio.get_running_loop().call_soon(done, True)

    found = await closed_loop(send, 4, 60, 2)
    assert found.units == 2


async def test_an_open_loop_ends_when_it_is_over() -> None:
    sent: list[Done] = []

    def send(done: Done) -> None:
        sent.append(done)
        done(True)

    found = await open_loop(send, 1_000, 60, is_over=lambda: len(sent) >= 20)
    assert found.units == len(sent) >= 20


@pytest.mark.parametrize(
    ("name", "size", "names"),
    [
        ("waiting", 300, {"waiting.approval", "waiting.recover", "waiting.timer", "waiting.fire"}),
        ("recover", 5_000, {"recover.whole", "recover.cold", "recover.snapshot"}),
        ("approvals", 200, {"approvals.many", "approvals.one_at_a_time"}),
        ("events", 2_000, {"events.watch", "events.log"}),
    ],
)
def test_what_grows_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, size: int, names: set[str]
) -> None:
    assert main(["bench", name, "--json", "--size", str(size), "--rounds", "1", "--folder", str(tmp_path)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {one["name"] for one in found} == names
    assert all(one["rate_per_s"] > 0 and one["cpu_us_per_unit"] >= 0 for one in found)
    assert not list(tmp_path.iterdir())


def test_several_sizes_are_drawn_against_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "compile.svg"
    argv = ["bench", "compile", "--json", "--size", "100,10", "--rounds", "1", "--seconds", "0.1"]
    assert main([*argv, "--plot", str(picture), "--folder", str(tmp_path)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(one["name"], one["size"]) for one in found] == [("compile.10", 10), ("compile.100", 100)]
    drawn = ElementTree.parse(picture)
    assert "CPU in all, seconds" in {text.text for text in drawn.iter(f"{SVG}text")}
    assert len(list(drawn.iter(f"{SVG}circle"))) == 2


def test_a_line_of_slope_one_is_drawn_along_what_grows_linearly() -> None:
    points = [(100, 0.02), (1_000, 0.2), (10_000, 2.0)]
    drawn = ElementTree.fromstring(svg("events", {"CPU": {"whole": points}}))
    dashed, line = [one for one in drawn.iter(f"{SVG}polyline") if one.get("stroke") != "#ddd"]

    def slope(one: ElementTree.Element) -> float:
        (x, y), (end_x, end_y) = [tuple(map(float, one.get("points", "").split()[at].split(","))) for at in (0, -1)]
        return (end_y - y) / (end_x - x)

    assert dashed.get("stroke-dasharray")
    assert slope(dashed) == pytest.approx(slope(line), rel=0.01)


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (["chain", "--size", "5"], "chain has no size"),
        (["compile", "--size", "10", "--plot", "x.svg"], "name several"),
        (["waiting", "--size", "1000001"], "at most 1,000,000"),
    ],
)
def test_an_option_that_says_nothing_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, argv: list[str], reason: str
) -> None:
    assert main(["bench", *argv, "--folder", str(tmp_path)]) == 1
    assert reason in capsys.readouterr().err
