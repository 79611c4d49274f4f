"""Profiles, and what patches of passes were expected to save against what they saved."""

import json

import pytest

from apex_fast.optimizer.patch import Expected, Finding, OptimizedPatch
from apex_fast.optimizer.profile import Profile
from apex_fast.optimizer.reason import REASON_CHARS_MAX, author_of, expected_in, pass_of, reason_of
from apex_fast.optimizer.savings import Ledger
from apex_fast.optimizer.seen import Calls, Seen, node_of

ROW = ("t", "row", "1")


def run(work_s: float, calls: int = 2, **patches: Expected) -> Seen:
    """A run of the node `a`."""
    node = Calls(starts=calls, failures=1, work_s=work_s, output_bytes=10 * calls, skips=0)
    return Seen(calls, work_s, work_s / 2, {"a": node}, patches)


def test_a_profile_is_means_over_its_runs() -> None:
    profile = Profile(10)
    assert profile.document() == b"null"
    profile.add(run(1.0))
    profile.add(run(3.0, calls=4))
    said = json.loads(profile.document())
    assert said["runs"] == 2
    assert said["a_run"] == {"calls": 3.0, "work_s": 2.0, "latency_s": 1.0}
    assert said["nodes"]["a"] == {
        "starts_per_run": 3.0,
        "mean_s": pytest.approx(4 / 6),
        "failures_per_run": 1.0,
        "skips_per_run": 0.0,
        "output_bytes": 10.0,
    }


def test_a_profile_forgets_what_is_old() -> None:
    profile = Profile(10)
    for _ in range(20):
        profile.add(run(1.0))
    for _ in range(10):
        profile.add(run(9.0))
    assert 5 <= profile.runs <= 10
    assert profile.a_run().work_s == 9.0


def test_passes_are_asked_again_when_half_of_the_runs_are_new() -> None:
    profile = Profile(8)
    for _ in range(4):
        profile.add(run(1.0))
    first = profile.settled()
    profile.add(run(5.0))
    assert profile.settled() is first
    for _ in range(3):
        profile.add(run(5.0))
    assert json.loads(profile.settled())["a_run"]["work_s"] == 3.0


def test_what_was_saved_is_the_difference_of_the_means() -> None:
    ledger = Ledger(10)
    ledger.add(ROW, run(2.0, calls=3, merge=Expected(1, 1.0, 0)))
    [alone] = ledger.savings()
    assert (alone.measured, alone.runs, alone.runs_without) == (None, 1, 0)
    assert ledger.by_pass() == {}, "nothing to compare with"
    ledger.add(ROW, run(4.0, calls=4))
    ledger.add(ROW, run(2.0, calls=4))
    [saving] = ledger.savings()
    assert (saving.passes, saving.expected, saving.runs, saving.runs_without) == (("merge",), Expected(1, 1.0, 0), 1, 2)
    assert saving.measured == Expected(1.0, 1.0, 0.5)
    assert ledger.by_pass() == {"merge": (1, Expected(1, 1.0, 0), Expected(1.0, 1.0, 0.5))}


def test_passes_that_saved_together_share_as_they_expected() -> None:
    ledger = Ledger(10)
    ledger.add(ROW, run(8.0, calls=4))
    ledger.add(ROW, run(4.0, calls=2, one=Expected(0, 3.0, 0), two=Expected(0, 1.0, 0)))
    found = ledger.by_pass()
    assert found["one"] == (1, Expected(0, 3.0, 0), Expected(1.0, 3.0, 1.0))
    assert found["two"] == (1, Expected(0, 1.0, 0), Expected(1.0, 1.0, 1.0))


def test_a_record_says_which_pass_and_what_it_expected() -> None:
    digest = "sha256:" + "0a" * 32
    assert pass_of(author_of("my-pass", digest)) == ("my-pass", digest)
    assert [pass_of(author) for author in ("", "me", "optimizer:x", f"agent:{digest}")] == [None] * 4
    patch = OptimizedPatch(b"[]", [Finding(["a"], "a is b")], Expected(1, 0.25, 1e-6))  # type: ignore[arg-type]
    assert reason_of(patch) == "a is b; expected to save 1 calls, 0.25 s of work, 1e-06 s of waiting"
    assert expected_in(reason_of(patch)) == patch.expected
    long = OptimizedPatch(b"[]", [Finding([], "x" * 5_000)], Expected(1))  # type: ignore[arg-type]
    assert len(reason_of(long)) == REASON_CHARS_MAX
    assert expected_in(reason_of(long)) == Expected(1)
    assert (
        expected_in("because") == expected_in("expected to save ..e calls, 1 s of work, 1 s of waiting") == Expected()
    )


def test_a_node_is_known_wherever_its_items_run() -> None:
    assert [node_of(path) for path in ("a", "a.b", "m[3].fetch", "m[3].n[0].a.b")] == ["a", "a.b", "fetch", "a.b"]
