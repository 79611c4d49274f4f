"""A handle for one run."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import msgspec

from apex_fast.client.connection import Connection
from apex_fast.client.views import Event, Patch, PatchDifference, RunInfo
from apex_fast.errors import Overloaded, RunCancelled, RunFailed, Unavailable
from apex_fast.wire.apex.v1 import common_pb2, patch_pb2, run_pb2

SERVICE = "/apex.v1.RunService"
PATCHES = "/apex.v1.PatchService"
RECONNECT_S = 0.2
PAGE_EVENTS = 1000


class Run:
    """A run on the server."""

    def __init__(self, connection: Connection, run_id: str, existing: bool = False) -> None:
        self._connection = connection
        self.id = run_id
        self.existing = existing
        """The idempotency key named a run that was there before."""

    def __repr__(self) -> str:
        return f"Run({self.id!r})"

    async def info(self, at_offset: int | None = None) -> RunInfo:
        """Where it stands, or stood after the event at an offset. Raises NotFound, InvalidInput beyond its end."""
        request = run_pb2.GetRunRequest(run_id=self.id, at_offset=at_offset)
        return RunInfo.of(await self._connection.unary(f"{SERVICE}/GetRun", request, run_pb2.Run, retry=True))

    async def ended(self, timeout_s: float | None = None) -> RunInfo:
        """Wait until it has ended, and say how. Raises DeadlineExceeded after ``timeout_s``."""
        request = run_pb2.GetRunRequest(run_id=self.id, wait=True)
        answer = await self._connection.unary(f"{SERVICE}/GetRun", request, run_pb2.Run, timeout_s or 0, retry=True)
        return RunInfo.of(answer)

    async def result(self, timeout_s: float | None = None) -> Any:
        """Wait for its output. Raises RunFailed, RunCancelled, DeadlineExceeded."""
        info = await self.ended(timeout_s)
        if info.state == "COMPLETED":
            return info.output
        kind = RunCancelled if info.state == "CANCELLED" else RunFailed
        raise kind(
            f"run {self.id} ended as {info.state}: {info.error_message}",
            run_id=self.id,
            node=info.error_node,
            error_type=info.error_code,
        )

    async def watch(self, from_offset: int = 0) -> AsyncIterator[Event]:
        """Its events as they become durable, from an offset to the end.

        Goes on from the last event it gave where the connection breaks or the server says that this viewer is slow.
        """
        following = from_offset
        while True:
            request = run_pb2.WatchRunRequest(run_id=self.id, from_offset=following)
            try:
                async for event in self._connection.stream(f"{SERVICE}/WatchRun", request, common_pb2.Event):
                    following = event.offset + 1
                    yield Event.of(event)
                return
            except (Unavailable, Overloaded):
                await asyncio.sleep(RECONNECT_S)

    async def timeline(self, from_offset: int = 0) -> list[Event]:
        """Its events up to now."""
        events: list[Event] = []
        while True:
            request = run_pb2.GetTimelineRequest(run_id=self.id, from_offset=from_offset, page_size=PAGE_EVENTS)
            page = await self._connection.unary(
                f"{SERVICE}/GetTimeline", request, run_pb2.GetTimelineResponse, retry=True
            )
            events += [Event.of(event) for event in page.events]
            if not page.events or page.end:
                return events
            from_offset = page.next_offset

    async def history(self) -> bytes:
        """All its records as a file (docs/formats/history.md)."""
        parts: list[bytes] = []
        following = 0
        while True:
            request = run_pb2.GetHistoryRequest(run_id=self.id, from_offset=following)
            answer = await self._connection.unary(
                f"{SERVICE}/GetHistory", request, run_pb2.GetHistoryResponse, retry=True
            )
            parts.append(answer.data)
            following = answer.next_offset
            if answer.end:
                return b"".join(parts)

    async def replay(
        self,
        from_node: str = "",
        *,
        mode: str = "freeze",
        definition: str = "",
        allow_writes: bool = False,
        idempotency_key: str = "",
    ) -> "Run":
        """A new run that goes on from a node of this one (an instance path); empty: everything again.

        ``mode``: `freeze` (what does not come after the node keeps what it gave) or `live`. ``definition``: another
        version. Raises NotFound, InvalidInput (WRITES_NOT_ALLOWED, VERSION_INCOMPATIBLE, with each place).
        """
        request = run_pb2.ReplayRunRequest(
            run_id=self.id,
            from_node=from_node,
            mode=run_pb2.ReplayRunRequest.Mode.Value(f"MODE_{mode.upper()}"),
            definition_version=definition,
            allow_writes=allow_writes,
            idempotency_key=idempotency_key,
        )
        answer = await self._connection.unary(
            f"{SERVICE}/ReplayRun", request, run_pb2.ReplayRunResponse, retry=bool(idempotency_key)
        )
        return Run(self._connection, answer.run_id, answer.existing)

    async def cancel(self, reason: str = "") -> None:
        """Start nothing new, undo what was done. Raises WrongState (RUN_ENDED)."""
        request = run_pb2.CancelRunRequest(run_id=self.id, reason=reason)
        await self._connection.unary(f"{SERVICE}/CancelRun", request, run_pb2.CancelRunResponse)

    async def pause(self, reason: str = "") -> str:
        """Request nothing new until `resume`; the id of the checkpoint. Raises WrongState (RUN_ENDED)."""
        request = run_pb2.PauseRunRequest(run_id=self.id, reason=reason)
        answer = await self._connection.unary(f"{SERVICE}/PauseRun", request, run_pb2.PauseRunResponse)
        return answer.checkpoint_id

    async def resume(self) -> None:
        """Let it go on. Raises WrongState (RUN_ENDED)."""
        request = run_pb2.ResumeRunRequest(run_id=self.id)
        await self._connection.unary(f"{SERVICE}/ResumeRun", request, run_pb2.ResumeRunResponse)

    async def migrate(self, version: str = "", *, tag: str = "") -> int:
        """Move it to another version of its workflow (or to that of a tag; neither: `main`); the epoch that it is in.

        Raises WrongState (RUN_ENDED), NotFound, InvalidInput (VERSION_INCOMPATIBLE, with each place).
        """
        chosen = {"version": version} if version else {"tag": tag} if tag else {}
        request = run_pb2.MigrateRunRequest(run_id=self.id, **chosen)
        answer = await self._connection.unary(f"{SERVICE}/MigrateRun", request, run_pb2.MigrateRunResponse, retry=True)
        return answer.epoch

    async def definition(self) -> tuple[dict[str, Any], int]:
        """What it goes on under, and the epoch of that. Raises WrongState (RUN_ENDED)."""
        request = run_pb2.GetRunDefinitionRequest(run_id=self.id)
        answer = await self._connection.unary(
            f"{SERVICE}/GetRunDefinition", request, run_pb2.GetRunDefinitionResponse, retry=True
        )
        return msgspec.json.decode(answer.definition_json), answer.epoch

    async def patch(
        self,
        operations: Sequence[Mapping[str, Any]],
        reason: str = "",
        *,
        base_epoch: int | None = None,
        idempotency_key: str = "",
    ) -> str:
        """Change its definition by JSON Patch (RFC 6902); the id of the patch.

        ``base_epoch``: the epoch of the definition that the operations are for; None: the one in force. Raises
        InvalidInput (PATCH_SHAPE_REFUSED, PATCH_MEANING_REFUSED, PATCH_SECURITY_REFUSED; with each place),
        PatchConflict (with the patches in the way), WrongState (RUN_ENDED).
        """
        request = patch_pb2.ApplyPatchRequest(
            run_id=self.id,
            operations_json=msgspec.json.encode(operations),
            reason=reason,
            base_epoch=base_epoch,
            idempotency_key=idempotency_key,
        )
        answer = await self._connection.unary(
            f"{PATCHES}/ApplyPatch", request, patch_pb2.ApplyPatchResponse, retry=bool(idempotency_key)
        )
        return answer.patch_id

    async def patches(self) -> list[Patch]:
        """Its patches, in the order in which they were given."""
        request = patch_pb2.ListPatchesRequest(run_id=self.id)
        answer = await self._connection.unary(
            f"{PATCHES}/ListPatches", request, patch_pb2.ListPatchesResponse, retry=True
        )
        return [Patch.of(patch) for patch in answer.patches]

    async def patch_difference(self, patch_id: str) -> PatchDifference:
        """What a patch changed when it was applied, in lines and drawn. Raises NotFound."""
        request = patch_pb2.GetPatchRequest(patch_id=patch_id, with_difference=True)
        answer = await self._connection.unary(f"{PATCHES}/GetPatch", request, patch_pb2.Patch, retry=True)
        found = answer.difference
        return PatchDifference(found.text, found.mermaid, found.svg)

    async def get_patch(self, patch_id: str) -> Patch:
        """One of its patches, and what it did so far. Raises NotFound (PATCH_NOT_FOUND)."""
        request = patch_pb2.GetPatchRequest(patch_id=patch_id)
        return Patch.of(await self._connection.unary(f"{PATCHES}/GetPatch", request, patch_pb2.Patch, retry=True))

    async def approve_patch(self, patch_id: str, *, approve: bool, reason: str = "") -> Patch:
        """Apply or reject a patch that waits for a person.

        Raises InvalidInput as `patch` does: it passes the gates once more and stays proposed where one refuses;
        WrongState (WRONG_STATE) where it was decided otherwise, NotFound.
        """
        request = patch_pb2.ApprovePatchRequest(patch_id=patch_id, approve=approve, reason=reason)
        answer = await self._connection.unary(
            f"{PATCHES}/ApprovePatch", request, patch_pb2.ApprovePatchResponse, retry=True
        )
        return Patch.of(answer.patch)

    async def roll_back(self, patch_id: str, reason: str = "") -> int:
        """Drop a patch; the epoch that this made. Raises InvalidInput (PATCH_STARTED), PatchConflict, NotFound."""
        request = patch_pb2.RollbackPatchRequest(patch_id=patch_id, reason=reason)
        answer = await self._connection.unary(
            f"{PATCHES}/RollbackPatch", request, patch_pb2.RollbackPatchResponse, retry=True
        )
        return answer.epoch

    async def signal(self, name: str, payload: Any = None, *, idempotency_key: str = "") -> None:
        """Tell it something. ``payload``: anything msgspec encodes. Raises WrongState where it has ended."""
        request = run_pb2.SignalRunRequest(
            run_id=self.id, name=name, payload_json=msgspec.json.encode(payload), idempotency_key=idempotency_key
        )
        await self._connection.unary(
            f"{SERVICE}/SignalRun", request, run_pb2.SignalRunResponse, retry=bool(idempotency_key)
        )

    async def query(self, expression: str, *, at_offset: int | None = None) -> Any:
        """What an expression over it gives, now or after the event at an offset: `state`, `progress`, `nodes`, or CEL.
        Raises InvalidInput (an offset beyond its end, no expression), WrongState (it has ended)."""
        request = run_pb2.QueryRunRequest(run_id=self.id, expression=expression, at_offset=at_offset)
        answer = await self._connection.unary(f"{SERVICE}/QueryRun", request, run_pb2.QueryRunResponse, retry=True)
        return msgspec.json.decode(answer.result_json)
