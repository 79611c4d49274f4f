"""What goes wrong between a goal and its plan, beside `PlanNotFound` and `InvalidInput` (GOAL_INVALID) of the tree.

InvalidInput
└── PlanInvalid    PLAN_INVALID    a plan template breaks a rule; `errors` has each place
Unavailable
└── ModelFailed    MODEL_FAILED    the model gave no usable plan in the tries that the settings allow
"""

from apex_fast.errors import InvalidInput, Unavailable


class PlanInvalid(InvalidInput):
    """A plan template breaks a rule; ``errors`` holds (JSON Pointer, sentence) of each place."""

    default_code = "PLAN_INVALID"


class ModelFailed(Unavailable):
    """The model gave no usable plan in the tries that the settings allow."""

    default_code = "MODEL_FAILED"
