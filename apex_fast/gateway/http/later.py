"""Routes of the contract that do not run in this version: each says which capability is missing."""

from apex_fast.gateway.http.route import Route, deferred

_YAML = "workflows of agents and tasks (the YAML form) are not read"


def routes() -> list[Route]:
    """All routes of the group."""
    return [
        deferred("POST", "/api/v1/workflows", "createAgentWorkflow", "Create a workflow of agents", _YAML),
        deferred("POST", "/api/v1/workflows/{id}/execute", "executeAgentWorkflow", "Execute it", _YAML),
        deferred("GET", "/api/v1/workflows/{id}/status", "agentWorkflowStatus", "Its status", _YAML),
        deferred("POST", "/api/v1/workflows/{id}/pause", "pauseAgentWorkflow", "Pause it", _YAML),
        deferred("POST", "/api/v1/workflows/{id}/resume", "resumeAgentWorkflow", "Resume it", _YAML),
        deferred("GET", "/api/v1/patterns/available", "listPatterns", "Orchestration patterns", _YAML),
        deferred("POST", "/stream-tickets", "createStreamTicket", "A ticket for a browser's stream",
                 "nobody authenticates yet, so streams need no ticket"),
        deferred("GET", "/workflow-capacity", "capacity", "Free capacity",
                 "capacity is not reported; see /metrics for queues and limits"),
    ]  # fmt: skip
