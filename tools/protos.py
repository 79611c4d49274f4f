"""Generate `apex_fast/wire` from `proto/`: messages and their stubs, the same bytes on every machine.

In: `proto/**/*.proto`. Out: `apex_fast/wire/**/*_pb2.py` and `.pyi`, importable under `apex_fast.wire`
(protoc writes imports relative to the proto root; they are rewritten here), committed. `--check` changes
nothing and fails where the committed files differ.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto"
WIRE = ROOT / "apex_fast" / "wire"
PACKAGE = "apex_fast.wire"
CARDS = {".": '"""The wire: messages generated from `proto/` by `make protos`, never edited by hand."""\n'}
# `apex.v1` and `grpc.health.v1` live under the package; `google.*` comes from its own distributions.
OURS = re.compile(r"^from (apex|grpc)\.([a-z0-9_.]+) import", re.MULTILINE)


def rewritten(text: str) -> str:
    """The generated module with its imports under our package."""
    return OURS.sub(rf"from {PACKAGE}.\1.\2 import", text)


def generated() -> dict[str, str]:
    """Relative path -> text of every file of the package."""
    sources = sorted(str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto"))
    files: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTO}", f"--python_out={folder}"]
        plugin = Path(sys.executable).parent / "protoc-gen-mypy"
        command += [f"--plugin=protoc-gen-mypy={plugin}", f"--mypy_out=quiet:{folder}", *sources]
        subprocess.run(command, check=True)
        for path in sorted(Path(folder).rglob("*")):
            if path.is_file():
                files[str(path.relative_to(folder))] = rewritten(path.read_text())
    folders = {str(parent) for name in files for parent in Path(name).parents}
    for name in sorted(folders):
        files[str(Path(name) / "__init__.py")] = CARDS.get(name, "")
    return files


def main(arguments: list[str]) -> int:
    """Write the package, or compare it."""
    files = generated()
    present = {str(path.relative_to(WIRE)) for path in WIRE.rglob("*.py*") if path.suffix in {".py", ".pyi"}}
    if arguments == ["--check"]:
        wrong = sorted(present ^ set(files)) + sorted(
            name for name in present & set(files) if (WIRE / name).read_text() != files[name]
        )
        for name in wrong:
            print(f"apex_fast/wire/{name} is not what proto/ says: run `make protos`", file=sys.stderr)
        return 1 if wrong else 0
    for name in sorted(present - set(files)):
        (WIRE / name).unlink()
    for name, text in files.items():
        target = WIRE / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
