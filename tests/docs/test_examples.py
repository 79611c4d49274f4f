"""Every example of the README and of the documentation does what it says.

`docs/decisions` is left out: its pages show what was agreed at a moment, not what a reader is to type.
"""

import random
import re
import socket
from contextlib import suppress
from pathlib import Path

import pytest

from tests.docs.examples import ROOT, fits, run_page
from tests.docs.page import blocks_of, commands_of

PAGES = sorted(
    page
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    if ROOT / "docs" / "decisions" not in page.parents and "```" in page.read_text(encoding="utf-8")
)
LINK = re.compile(r"\]\((?!https?://|mailto:)([^)#\s]*)(?:#([^)\s]*))?\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def free_port() -> int:
    """A port that nobody listened on a moment ago, and that the system gives to nobody who asks for any."""
    first_given = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for port in random.sample(range(10_000, max(first_given, 11_000)), 1_000):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("no port is free")


def anchors_of(page: Path) -> set[str]:
    """The anchors of a page's headings, as forges make them."""
    headings = HEADING.findall(page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_examples(page: Path, tmp_path: Path) -> None:
    assert run_page(page, tmp_path, free_port()) >= 0


@pytest.mark.parametrize("page", ["approvals-and-timers.md", "streams.md"])
def test_examples_where_there_is_no_curl(page: str, tmp_path: Path) -> None:
    assert run_page(ROOT / "docs" / "guides" / page, tmp_path, free_port(), with_curl=False) > 0


@pytest.mark.parametrize("page", sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]), ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        place = page.parent / target if target else page
        assert place.exists(), f"{name_of(page)} links to {target}"
        assert not anchor or anchor in anchors_of(place), f"{name_of(page)} links to {target}#{anchor}"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("```python\nraise ValueError('no')\n```\n", "ValueError: no"),
        ("```python\nfrom apex_fast import App\nApp().workflow('w').function('f', 'g', input={'a': 1})\n```\n", ""),
        (
            "```python\nfrom apex_fast import App\napp = App()\napp.workflow('w').function('f', 'g')\n```\n",
            "no function",
        ),
        ("```console\n$ echo one\ntwo\n```\n", "another answer"),
        ("```console\n$ false | cat\n```\n", "exit 1"),
        ("```console\n$ echo $NOT_THERE\n```\n", "unbound variable"),
        ("```console\n$ make nothing\n```\n", "no verb"),
        ("```console\necho\n```\n", "begins with"),
        (
            '```json\n{"name": "w", "version": "1", "nodes": [{"id": "a", "type": "nope"}]}\n```\n',
            "there is no node type",
        ),
        ('```json\n{"id": "a", "type": "timer"}\n```\n', "needs the field"),
        ("```json\n{\n```\n", "Expecting"),
        ("```toml\n[server]\nprot = 1\n```\n", "did you mean port"),
        ("```bash\necho\n```\n", "a block is one of"),
        ("```\necho\n```\n", "a block is one of"),
        ("```text\n", "does not end"),
    ],
)
def test_an_example_that_is_wrong_is_found(text: str, says: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(text, encoding="utf-8")
    if not says:
        run_page(page, tmp_path, free_port())
        return
    with pytest.raises((AssertionError, ValueError), match=says):
        run_page(page, tmp_path, free_port())


def test_a_page_is_read_like_a_person_reads_it(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        '`order.json`:\n\n```json\n{"a": 7400}\n```\n\n'
        "```python\n# two.py\nprint(open('order.json').read().strip())\n```\n\n"
        '```console\n$ X=one; cd .\n$ python two.py\n{"a": …}\n$ echo "$X \\\n  two"\none   two\n'
        "$ (exit 3)\n$ echo $?\n3\n$ echo 2026-11-21T14:46:45.01Z 0.25\n2000-01-01T00:00:00Z 9.9\n```\n",
        encoding="utf-8",
    )
    assert run_page(page, tmp_path, 1234) == 3
    assert (tmp_path / "order.json").read_text() == '{"a": 1234}\n'
    assert [block.name for block in blocks_of(page)] == ["order.json", "two.py", ""]
    assert len(commands_of(blocks_of(page)[2])) == 6


def test_dots_stand_for_anything() -> None:
    assert fits("a…z", "abc\nxyz")
    assert not fits("a…z", "abc")
    assert not fits("a", "a\nb")
