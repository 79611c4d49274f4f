"""Compiling takes a bounded multiple of parsing the same bytes, and grows as they do; a patch, a part of it."""

import json
from functools import partial

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from apex_fast.cli.bench import patching, workflows
from apex_fast.core import compile
from bench.gates.ratio import cpu_ratio


@pytest.mark.parametrize("nodes", [100, 1_000, 10_000])
def test_against_json(benchmark: BenchmarkFixture, nodes: int) -> None:
    document = workflows.layers(nodes)
    # Measured: 1.2 at 100 nodes, 1.8 at 1,000, 1.2 at 10,000.
    assert cpu_ratio(benchmark, partial(compile, document), partial(json.loads, document)) < 6


def test_growth(benchmark: BenchmarkFixture) -> None:
    small, large = workflows.layers(1_000), workflows.layers(10_000)
    # Ten times the nodes; measured: 12.
    assert cpu_ratio(benchmark, partial(compile, large), partial(compile, small)) < 30


def test_a_patch_reads_what_it_changes(benchmark: BenchmarkFixture) -> None:
    nodes = 1_000
    document = workflows.layers(nodes)
    definition, patch = compile(document), json.dumps(patching.operations(0, nodes)).encode()
    # Measured: 0.3.
    assert cpu_ratio(benchmark, partial(definition.patched, patch), partial(compile, document)) < 0.6
