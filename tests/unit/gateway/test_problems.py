"""One table of problems: each code has a row and a page, and an answer says the same on both wires."""

import re
from pathlib import Path

import msgspec
import pytest
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]

from apex_fast.errors import (
    CLASS_OF_CODE,
    ApexError,
    ConflictingPatch,
    InvalidInput,
    NotFound,
    Overloaded,
    PatchConflict,
    PatchConflicts,
    Unavailable,
)
from apex_fast.gateway.problems import PROBLEMS, ProblemBody, grpc_failure, http_failure
from apex_fast.wire.apex.v1 import patch_pb2

ROOT = Path(__file__).resolve().parents[3]
PAGES = ROOT / "docs" / "errors"
# google/rpc/code.proto: the HTTP mapping of each canonical code, and the narrower ones that we use.
HTTP_OF_GRPC = {
    1: {409, 499}, 3: {400, 415, 422}, 4: {408, 504}, 5: {404, 410}, 6: {409}, 7: {403}, 8: {413, 422, 429, 503, 507},
    9: {409, 422, 501}, 10: {409}, 12: {405, 501}, 13: {500}, 14: {503}, 16: {401},
}  # fmt: skip


@pytest.mark.parametrize("code", sorted(PROBLEMS))
def test_each_code_has_a_page_that_says_what_to_do(code: str) -> None:
    text = (PAGES / f"{code}.md").read_text()
    assert text.startswith(f"# {code}\n")
    assert PROBLEMS[code].title in text
    assert f"HTTP {PROBLEMS[code].http}" in text
    for part in ("**What happened.**", "**Why.**", "**What to do.**"):
        assert part in text


def test_each_code_that_our_errors_or_the_machine_use_has_a_row() -> None:
    machine = (ROOT / "crates" / "machine" / "src" / "error.rs").read_text().split("pub mod kind")[0]
    refused = set(re.findall(r"pub const ([A-Z_]+): &str", machine))
    outcomes = {code for code in refused if code not in PROBLEMS}
    # An outcome of a run is no answer to a request: it has a page and no status.
    for code in outcomes:
        assert "outcome of a run" in (PAGES / f"{code}.md").read_text(), code
    assert set(CLASS_OF_CODE) <= set(PROBLEMS)


def test_each_code_that_the_front_door_answers_by_itself_has_a_row() -> None:
    sources = sorted((ROOT / "crates" / "front" / "src").glob("*.rs"))
    named = {code for path in sources for code in re.findall(r'"([A-Z]{4,}(?:_[A-Z]+)*)"', path.read_text())}
    methods = {"DELETE", "HEAD", "OPTIONS", "POST"}
    assert named - methods <= set(PROBLEMS)


@pytest.mark.parametrize("code", sorted(PROBLEMS))
def test_statuses_of_both_wires_agree(code: str) -> None:
    row = PROBLEMS[code]
    assert row.http in HTTP_OF_GRPC[row.grpc]


def test_bad_input_names_its_fields_on_both_wires() -> None:
    error = InvalidInput("no", errors=[("/a/0", "wrong"), ("", "all wrong")])
    code, message, details = grpc_failure(error)
    assert (code, message) == (3, "no")
    status = status_pb2.Status.FromString(details)
    info, fields = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    assert status.details[0].Unpack(info)
    assert (info.reason, info.domain) == ("INVALID_INPUT", "apex")
    assert status.details[1].Unpack(fields)
    assert [(f.field, f.description) for f in fields.field_violations] == error.errors
    http, headers, body = http_failure(error)
    problem = msgspec.json.decode(body, type=ProblemBody)
    assert (http, problem.status, problem.code) == (400, 400, "INVALID_INPUT")
    assert ("content-type", "application/problem+json") in headers
    assert [(item.pointer, item.detail) for item in problem.errors] == error.errors


@pytest.mark.parametrize(
    ("error", "wait_s"),
    [(Overloaded("full", retry_after_s=2.5), 2.5), (Unavailable("stopping"), 1.0), (NotFound("no"), None)],
)
def test_a_retry_is_advised_where_it_helps(error: ApexError, wait_s: float | None) -> None:
    status = status_pb2.Status.FromString(grpc_failure(error)[2])
    retry = error_details_pb2.RetryInfo()
    found = [detail for detail in status.details if detail.Unpack(retry)]
    headers = dict(http_failure(error)[1])
    if wait_s is None:
        assert not found
        assert "retry-after" not in headers
    else:
        assert retry.retry_delay.ToNanoseconds() == wait_s * 1e9
        assert float(headers["retry-after"]) >= wait_s


def test_an_unknown_code_is_an_error_of_ours_and_keeps_its_name() -> None:
    status, _, body = http_failure(ApexError("odd", code="NEVER_HEARD_OF"))
    assert status == 500
    assert msgspec.json.decode(body, type=ProblemBody).code == "NEVER_HEARD_OF"


def test_what_is_in_the_way_of_a_patch_is_cut_to_what_a_call_may_say() -> None:
    patches = tuple(
        ConflictingPatch(f"{n:040}", epoch=n, what=("w" * 30,), operations=({"op": "set", "value": "x" * size},))
        for n, size in enumerate([100, 6_000, *[300] * 98])
    )
    error = PatchConflict("m" * 3_000, conflict=PatchConflicts(7, patches), errors=[("", "d" * 900)] * 9)
    _, message, details = grpc_failure(error)
    assert len(message) + len(details) * 4 / 3 < 8_000
    status, found = status_pb2.Status.FromString(details), patch_pb2.PatchConflict()
    assert [detail.Unpack(found) for detail in status.details] == [False, False, True]
    assert (found.epoch, found.truncated) == (7, True), "not all are named"
    assert [patch.truncated for patch in found.patches[:2]] == [False, True]
    assert [patch.patch_id for patch in found.patches] == [patch.patch_id for patch in patches[: len(found.patches)]]
    problem = msgspec.json.decode(http_failure(error)[2], type=ProblemBody)
    assert problem.conflict == error.conflict, "whole over HTTP"
