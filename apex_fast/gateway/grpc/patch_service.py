"""`apex.v1.PatchService`: in the contract, not running in this version."""

from apex_fast.gateway.grpc.method import Method, not_running

SERVICE = "apex.v1.PatchService"


def methods() -> list[Method]:
    """All methods of the service."""
    capability = "runs and workflows cannot be patched"
    names = ("ApplyPatch", "ListPatches", "GetPatch", "ApprovePatch", "RollbackPatch")
    return [not_running(SERVICE, name, capability) for name in names]
