"""The plan templates that come with the package: `templates/*.json`, a plan a file, named after its template."""

from importlib import resources

from apex_fast.planner.errors import PlanInvalid
from apex_fast.planner.plan import PlanTemplate, decode


def shipped_plans() -> list[PlanTemplate]:
    """All of them, by name. Raises PlanInvalid for a file that breaks a rule."""
    folder = resources.files("apex_fast.planner").joinpath("templates")
    plans: list[PlanTemplate] = []
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if not file.name.endswith(".json"):
            continue
        plan = decode(file.read_bytes())
        if file.name != f"{plan.template}.json":
            raise PlanInvalid(f"{file.name} holds the template {plan.template!r}; name the file after it")
        plans.append(plan)
    return plans
