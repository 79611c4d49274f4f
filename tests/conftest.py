"""What holds for all properties: none fails because a machine is busy, and none draws anew in `make test`."""

import os

from hypothesis import HealthCheck, settings

# Hypothesis allows an example 200 ms and its drawing a second, by the clock on the wall.
settings.register_profile(
    "house",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize="APEX_EXAMPLES" not in os.environ,
    print_blob=True,
)
settings.load_profile("house")
