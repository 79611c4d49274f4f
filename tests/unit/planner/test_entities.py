"""The recognisers stay as good as they were measured (floors two points below, on the test half)."""

import pytest

from apex_fast.core import Recognizer
from bench.entities import score

RECOGNIZER = Recognizer()


@pytest.mark.parametrize(
    ("data", "row", "f1"),
    [
        ("snips", "LOCATION", 0.58),
        ("snips", "DATE or TIME", 0.87),
        ("dstc8_spans", "LOCATION", 0.89),
        ("dstc8_spans", "DATE", 0.67),
        ("dstc8_spans", "TIME", 0.97),
        ("presidio_synth_v2", "LOCATION", 0.52),
        ("presidio_synth_v2", "PERSON", 0.59),
        ("presidio_synth_v2", "EMAIL", 0.98),
        ("presidio_synth_v2", "PHONE", 0.92),
        ("presidio_synth_v2", "URL", 0.98),
        ("presidio_synth_v2", "DATE or TIME", 0.56),
    ],
)
def test_f1_on_the_test_half(data: str, row: str, f1: float) -> None:
    found = score(RECOGNIZER, data, row, "test")
    assert found.f1 is not None
    assert found.f1 >= f1, found
