"""Goal in, plan out.

Holds: plan templates and their form (`plan`), the ones that ship (`shipped`, `templates/`), what a plan compiles to
(`definition`), the question to a model (`asking`), and the look-up (`planner`).
May know: ports, domain, core, errors. Never: a gateway, an engine, an adapter, a client library.
In: a sentence. Out: a `Planned` — a workflow definition that is the same for every goal of its template, and the
slots, which are inputs of the run. Text of a goal is never spliced into a definition.

    plan        PlanTemplate, Step and Compensation; what makes a plan valid
    definition  plan -> workflow definition (JSON)
    planner     Planner: the order of look-ups, the plan cache, learning from the model
"""

from apex_fast.planner.errors import ModelFailed, PlanInvalid
from apex_fast.planner.plan import Compensation, PlanTemplate, Step
from apex_fast.planner.planner import Planned, Planner
from apex_fast.planner.shipped import shipped_plans

__all__ = [
    "Compensation",
    "ModelFailed",
    "PlanInvalid",
    "PlanTemplate",
    "Planned",
    "Planner",
    "Step",
    "shipped_plans",
]
