"""Rates, intervals and shares of arms."""

import math

import pytest

from apex_fast.errors import InvalidInput
from apex_fast.gateway.arms import difference, part_of, share_of, wilson


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    # Newcombe 1998, Statistics in Medicine 17:857, table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_a_rate_has_the_score_interval(successes: int, trials: int, low: float, high: float) -> None:
    found = wilson(successes, trials)
    assert found.value == successes / trials
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)


@pytest.mark.parametrize(
    ("one", "other", "low", "high"),
    # Newcombe 1998, Statistics in Medicine 17:873, table II, method 10.
    [
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((10, 10), (0, 10), 0.6075, 1.0),
    ],
)
def test_a_difference_has_an_interval_made_of_both(
    one: tuple[int, int], other: tuple[int, int], low: float, high: float
) -> None:
    found = difference(wilson(*one), wilson(*other))
    assert found.value == pytest.approx(one[0] / one[1] - other[0] / other[1])
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)


def test_the_ends_are_known_where_all_or_none_succeeded() -> None:
    assert (wilson(400, 400).high, wilson(0, 7).low) == (1, 0)
    assert wilson(1, 1).low == pytest.approx(0.2065, abs=1e-4)


def test_a_share_is_a_number_of_thousandths() -> None:
    assert [share_of(share, "") for share in (0.001, 0.3, 0.125, 1, 0.1 + 0.2)] == [1, 300, 125, 1_000, 300]
    for share in (0, -0.5, 1.001, 0.0005, 0.1234, math.nan, math.inf):
        with pytest.raises(InvalidInput) as refused:
            share_of(share, "/share")
        assert refused.value.errors[0][0] == "/share"


def test_an_arm_is_a_version_or_a_set() -> None:
    assert part_of("2", "", 0.5, "/arms/0") == ("2", "", 500)
    for version, name in (("", ""), ("2", "x")):
        with pytest.raises(InvalidInput):
            part_of(version, name, 0.5, "/arms/0")
