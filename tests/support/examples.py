"""How many examples a property gets: `APEX_EXAMPLES` multiplies, for a soak."""

import os
from collections.abc import Callable
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings

Test = TypeVar("Test", bound=Callable[..., Any])


def examples(count: int) -> Callable[[Test], Test]:
    """Settings of a property: random from run to run, with a blob printed that brings a failure back."""
    return settings(
        max_examples=round(count * float(os.environ.get("APEX_EXAMPLES", "1"))),
        deadline=None,
        derandomize=False,
        print_blob=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
    )
