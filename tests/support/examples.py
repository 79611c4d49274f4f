"""How many examples a property gets, and which.

In `make test` they are the same each time, so that a red build says that the change did it. `APEX_EXAMPLES` multiplies
their number and draws new ones each time, for a soak; a failure prints the blob that brings it back.
"""

import os
from collections.abc import Callable
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, settings

Test = TypeVar("Test", bound=Callable[..., Any])


def examples(count: int) -> Callable[[Test], Test]:
    """Settings of a property with this many examples."""
    factor = os.environ.get("APEX_EXAMPLES")
    return settings(
        max_examples=round(count * float(factor or "1")),
        deadline=None,
        derandomize=factor is None,
        # A failure is shown as it was drawn: to make it smaller may take minutes, which a soak has.
        phases=[Phase.explicit, Phase.generate] if factor is None else tuple(Phase),
        print_blob=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
    )
