"""The closed loop counts everything that it began and stops the clock at the last end."""

import asyncio
from pathlib import Path

from apex_fast.cli.bench.limits import AppendFile
from bench.rivals.load import closed_loop, quantile


async def test_keeps_the_asked_number_in_flight_and_counts_all() -> None:
    in_flight = 0
    most = 0
    ended = 0

    async def once() -> None:
        nonlocal in_flight, most, ended
        in_flight += 1
        most = max(most, in_flight)
        await asyncio.sleep(0.005)
        in_flight -= 1
        ended += 1

    lap = await closed_loop(once, 7, 0.05)
    assert most == 7
    assert in_flight == 0
    assert lap["runs"] == ended >= 7
    assert lap["p99_ms"] >= lap["p50_ms"] >= 5.0


async def test_a_call_longer_than_the_window_is_counted_with_its_whole_time() -> None:
    lap = await closed_loop(lambda: asyncio.sleep(0.1), 3, 0.01)
    assert lap["runs"] == 3
    assert lap["seconds"] >= 0.1


def test_quantile_is_a_value_that_was_measured() -> None:
    values = [float(value) for value in range(1, 101)]
    assert quantile(values, 0.50) == 51.0
    assert quantile(values, 0.99) == 100.0
    assert quantile([3.0], 0.99) == 3.0


async def test_the_limit_keeps_every_record_in_order(tmp_path: Path) -> None:
    path = tmp_path / "events.log"
    file = AppendFile(path)
    records = [f"{number}\n".encode() for number in range(500)]
    await asyncio.gather(*(file.append(record) for record in records))
    file.close()
    assert path.read_bytes().startswith(b"".join(records))
