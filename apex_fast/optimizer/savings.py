"""What patches of passes were expected to save, and what runs under them took less than runs without.

Runs of a version are kept apart by the passes whose patches they ended under. What is measured is the difference of the
means: of calls, of seconds of work, and of seconds in which a call was in flight. Runs differ for other reasons too, so
the number of runs behind either mean is part of what is said.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from apex_fast.optimizer.patch import Expected
from apex_fast.optimizer.profile import Profile
from apex_fast.optimizer.seen import Seen

VERSIONS_MAX = 1_000
GROUPS_MAX = 1_000

Version = tuple[str, str, str]
"""Tenant, workflow, version."""


@dataclass(frozen=True, slots=True)
class Saving:
    """A group of runs against the runs of the same version that no pass touched; per run."""

    tenant: str
    workflow: str
    version: str
    passes: tuple[str, ...]
    expected: Expected
    measured: Expected | None
    """None: there are no runs without the patches to compare with."""
    runs: int
    runs_without: int


class _Group:
    def __init__(self, runs_max: int) -> None:
        self.profile = Profile(runs_max)
        self.expected: dict[str, Expected] = {}
        """By pass, of the last run."""


class Ledger:
    """Profiles of versions, and of their runs under patches of passes. What was used least lately leaves first."""

    def __init__(self, runs_max: int) -> None:
        self._runs_max = runs_max
        self._plain: OrderedDict[Version, Profile] = OrderedDict()
        self._groups: OrderedDict[tuple[Version, tuple[str, ...]], _Group] = OrderedDict()

    def add(self, version: Version, seen: Seen) -> None:
        """A run that completed."""
        passes = tuple(sorted(seen.patches))
        if not passes:
            profile = self._plain.setdefault(version, Profile(self._runs_max))
            self._plain.move_to_end(version)
            if len(self._plain) > VERSIONS_MAX:
                self._plain.popitem(last=False)
            profile.add(seen)
            return
        group = self._groups.setdefault((version, passes), _Group(self._runs_max))
        self._groups.move_to_end((version, passes))
        if len(self._groups) > GROUPS_MAX:
            self._groups.popitem(last=False)
        group.expected = seen.patches
        group.profile.add(seen)

    def profile(self, version: Version) -> Profile | None:
        """The runs of a version that no pass touched."""
        return self._plain.get(version)

    def savings(self) -> Iterator[Saving]:
        """All groups."""
        for ((tenant, workflow, version), passes), group in self._groups.items():
            plain = self._plain.get((tenant, workflow, version))
            yield Saving(
                tenant,
                workflow,
                version,
                passes,
                sum(group.expected.values(), Expected()),
                plain.a_run() - group.profile.a_run() if plain is not None else None,
                group.profile.runs,
                plain.runs if plain is not None else 0,
            )

    def by_pass(self) -> dict[str, tuple[int, Expected, Expected]]:
        """By pass: runs that could be compared, and what one of them saved on average, expected and measured.

        What several passes saved together is told among them as they expected it; evenly, where they expected nothing.
        """
        totals: dict[str, tuple[int, Expected, Expected]] = {}
        for ((tenant, workflow, version), passes), group in self._groups.items():
            plain = self._plain.get((tenant, workflow, version))
            if plain is None:
                continue
            runs = group.profile.runs
            measured = plain.a_run() - group.profile.a_run()
            for name in passes:
                count, expected, saved = totals.get(name, (0, Expected(), Expected()))
                mine = _share(measured, group.expected, name)
                totals[name] = (
                    count + runs,
                    expected + _times(group.expected[name], runs),
                    saved + _times(mine, runs),
                )
        return {
            name: (count, _times(expected, 1 / count), _times(saved, 1 / count))
            for name, (count, expected, saved) in totals.items()
        }


def _times(saving: Expected, factor: float) -> Expected:
    return Expected(saving.calls * factor, saving.work_s * factor, saving.latency_s * factor)


def _share(measured: Expected, expected: dict[str, Expected], name: str) -> Expected:
    whole = sum(expected.values(), Expected())
    mine = expected[name]

    def part(amount: float, of: float, share: float) -> float:
        return amount * share / of if of > 0 else amount / len(expected)

    return Expected(
        part(measured.calls, whole.calls, mine.calls),
        part(measured.work_s, whole.work_s, mine.work_s),
        part(measured.latency_s, whole.latency_s, mine.latency_s),
    )
