"""The reference pages name what there is: every setting, route, method, metric and code, and nothing else."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from google.protobuf.descriptor import FileDescriptor

from apex_fast.settings import Settings
from apex_fast.wire.apex.v1 import approval_pb2, optimizer_pb2, patch_pb2, run_pb2, worker_pb2, workflow_pb2
from tests.support.gateway import Served, served

DOCS = Path(__file__).parents[2] / "docs"
ROUTE = re.compile(r"`(GET|POST|PUT|DELETE) (/[^`?\s]*)`")
METRIC = re.compile(r"`([a-z]+(?:_[a-z0-9]+)+)(?:\{[^}`]*\})?`")


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path) as house:
        yield house


def text_of(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def test_configuration_has_every_setting_with_its_default() -> None:
    rows = re.findall(r"^\| `([a-z_.]+)` \| (.*?) \| (.*) \|$", text_of("reference/configuration.md"), re.MULTILINE)
    shown = [(key, default.strip().strip("`"), meaning) for key, default, meaning in rows]
    assert shown == [(one.key, one.value, one.description) for one in Settings().describe()]


async def test_http_has_every_route(house: Served) -> None:
    status, document = await house.get("/openapi.json")
    assert status == 200
    served_routes = {(verb.upper(), path) for path, verbs in document["paths"].items() for verb in verbs}
    assert set(ROUTE.findall(text_of("reference/http-api.md"))) - {("HEAD", "")} == served_routes


def test_grpc_has_every_method() -> None:
    page = text_of("reference/grpc-api.md")
    files: list[FileDescriptor] = [
        one.DESCRIPTOR for one in (run_pb2, workflow_pb2, approval_pb2, optimizer_pb2, patch_pb2, worker_pb2)
    ]
    for file in files:
        for service in file.services_by_name.values():
            [row] = [line for line in page.splitlines() if line.startswith(f"| `{service.full_name}` |")]
            named = set(re.findall(r"[A-Z]\w+", row.replace(service.full_name, "")))
            methods = {method.name for method in service.methods}
            assert methods <= named or row.rstrip(" |").endswith("all"), f"{service.full_name}: {methods - named}"


async def test_metrics_of_the_operations_guide_are_there(house: Served) -> None:
    async with house.http.get("/metrics") as answer:
        found = await answer.text()
    table = text_of("guides/operations.md").partition("## Watch it")[2].partition("## Bounds")[0]
    for name in METRIC.findall(table):
        assert re.search(rf"^(# TYPE )?{name}\b", found, re.MULTILINE), name


def test_codes_that_pages_name_have_a_page() -> None:
    for page in DOCS.rglob("*.md"):
        for code in re.findall(r"errors/([A-Z_]+)\.md", page.read_text(encoding="utf-8")):
            assert (DOCS / "errors" / f"{code}.md").exists(), f"{page.name} names {code}"
