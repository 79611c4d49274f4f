"""The optimizer's passes as WASM: built from `wasm-passes/`, shipped in `apex_fast/optimizer/passes`.

`--write` builds them and puts them there with a manifest (size and hash of each); without it they are built and
compared, byte for byte, with what is shipped. A compiler that is missing is installed, by who may.

The compiler is that of Debian (`rustc-web cargo-web rust-web-src`), which builds the standard library from source;
its linker is that of any Rust toolchain. The bytes are those of one compiler version, which the manifest names.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "wasm-passes"
SHIPPED = ROOT / "apex_fast" / "optimizer" / "passes"
TARGET = "wasm32-unknown-unknown"
DEBIAN_RUSTC = Path("/usr/bin/rustc")
DEBIAN_CARGO = Path("/usr/bin/cargo")
PACKAGES = ("rustc-web", "cargo-web", "rust-web-src")


@dataclass(frozen=True)
class Compiler:
    """What builds: the words of the command, its environment, and the version that the manifest names."""

    cargo: list[str]
    environment: dict[str, str]
    version: str


def read(*words: str) -> str:
    """What a command says; empty where it fails or is not there."""
    try:
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def debian() -> Compiler | None:
    """Debian's compiler, linking with the linker of any Rust toolchain that has one."""
    sysroot = read(str(DEBIAN_RUSTC), "--print", "sysroot")
    if not sysroot or not (Path(sysroot) / "lib/rustlib/src/rust/library/std").exists():
        return None
    linkers = [shutil.which("rust-lld"), shutil.which("wasm-ld")]
    for own in (read("rustc", "--print", "sysroot"), sysroot):
        linkers += [str(found) for found in Path(own).glob("lib/rustlib/*/bin/rust-lld")] if own else []
    linker = next((found for found in linkers if found), None)
    if linker is None:
        return None
    environment = {
        "RUSTC": str(DEBIAN_RUSTC),
        "RUSTC_BOOTSTRAP": "1",
        "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER": linker,
    }
    extra = ["-Zbuild-std=std,panic_abort", "-Zbuild-std-features="]
    version = read(str(DEBIAN_RUSTC), "--version")
    return Compiler([str(DEBIAN_CARGO), "build", *extra], environment, f"{version}, std from source")


def installed() -> Compiler | None:
    """The same after installing it; None where that is not allowed."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return None
    print(f"installing {' '.join(PACKAGES)}", file=sys.stderr)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for words in (["update"], ["install", "--yes", "--no-install-recommends", *PACKAGES]):
        subprocess.run(["apt-get", "--quiet", "--quiet", *words], env=environment, stdout=sys.stderr, check=False)
    return debian()


def build(compiler: Compiler) -> dict[str, bytes]:
    """The modules by name. Paths of this machine are remapped, so that they are in no byte."""
    target = SOURCE / "target" / "wasm"
    registry = Path(os.environ.get("CARGO_HOME", Path.home() / ".cargo")) / "registry" / "src"
    # Of several that fit the last one counts. Which registry the crates came from does not matter either.
    homes = [(str(SOURCE), "/passes"), (read(str(DEBIAN_RUSTC), "--print", "sysroot"), "/rust")]
    command = [*compiler.cargo[:1], "fetch", "--locked", "--quiet"]
    subprocess.run(command, cwd=SOURCE, env={**os.environ, **compiler.environment}, check=True)
    homes += [(str(folder), "/crates") for folder in sorted(registry.glob("*"))]
    flags = [f"--remap-path-prefix={have}={shown}" for have, shown in homes]
    environment = {**os.environ, **compiler.environment, "CARGO_ENCODED_RUSTFLAGS": "\x1f".join(flags)}
    names = sorted(folder.name for folder in (SOURCE / "passes").iterdir() if (folder / "Cargo.toml").exists())
    words = [word for name in names for word in ("-p", name)]
    command = [*compiler.cargo, *words, "--lib", "--locked", "--release", "--quiet"]
    command += ["--target", TARGET, "--target-dir", str(target), "-j", "2"]
    subprocess.run(command, cwd=SOURCE, env=environment, check=True)
    made = target / TARGET / "release"
    return {name: (made / f"{name.replace('-', '_')}.wasm").read_bytes() for name in names}


def manifest(modules: dict[str, bytes], compiler: Compiler) -> str:
    """What is shipped, for people and for the comparison."""
    passes = {
        name: {"sha256": hashlib.sha256(module).hexdigest(), "bytes": len(module)} for name, module in modules.items()
    }
    return json.dumps({"format": 1, "compiler": compiler.version, "passes": passes}, indent=2) + "\n"


def differences(modules: dict[str, bytes], compiler: Compiler) -> list[str]:
    """What is shipped and not what the source says."""
    shipped = {file.stem: file.read_bytes() for file in SHIPPED.glob("*.wasm")}
    found = [f"{name} is not shipped" for name in modules if name not in shipped]
    found += [f"{name} is shipped and has no source" for name in shipped if name not in modules]
    found += [
        f"{name} is not what its source says" for name in modules if name in shipped and modules[name] != shipped[name]
    ]
    if not found and (SHIPPED / "manifest.json").read_text() != manifest(modules, compiler):
        found.append("manifest.json does not say what is shipped")
    return found


def main() -> int:
    """0 if what is shipped is what the source says (or was just written)."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--write", action="store_true")
    arguments = words.parse_args()
    compiler = debian() or installed()
    if compiler is None:
        print(f"no compiler for WASM: apt-get install {' '.join(PACKAGES)}", file=sys.stderr)
        return 1
    if not arguments.write:
        known = json.loads((SHIPPED / "manifest.json").read_text())["compiler"]
        if known != compiler.version:
            # Another compiler gives other bytes from the same source: not a fault of what is shipped.
            print(f"shipped: {known}; here: {compiler.version}: the bytes cannot be compared", file=sys.stderr)
            return 0
    modules = build(compiler)
    if arguments.write:
        SHIPPED.mkdir(parents=True, exist_ok=True)
        for file in SHIPPED.glob("*.wasm"):
            file.unlink()
        for name, module in modules.items():
            (SHIPPED / f"{name}.wasm").write_bytes(module)
        (SHIPPED / "manifest.json").write_text(manifest(modules, compiler))
        return 0
    found = differences(modules, compiler)
    for one in found:
        print(f"{one}; run `make passes`", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
