"""What stands in a data folder, by name."""

from typing import Final

LOG: Final = "log"
PLANS: Final = "plans"
BLOBS: Final = "blobs"
