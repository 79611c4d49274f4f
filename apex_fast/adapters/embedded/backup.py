"""A copy of a data folder while it is served, and a folder made of a copy.

A copy is a folder with `backup.json`, the manifest, and `objects/`, each file under the SHA-256 of its bytes. So a file
that did not change since the last copy is there already, and until the new manifest takes the place of the old one, in
one step, the old copy is whole. Segments are append-only and what is copied of the newest one is a prefix of whole
groups, so the copy needs nothing of the owner and never makes it wait.

Both ways are proved: every record of the copy is verified and folded into a machine, whose state has a hash; the same
folding of the restored folder must come to the same hash.
"""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from apex_fast.adapters.embedded.folder import BLOBS, LOG, PLANS
from apex_fast.adapters.embedded.history import FolderHistory
from apex_fast.core import verify_log
from apex_fast.domain import LogError
from apex_fast.engine.recovery import recover
from apex_fast.errors import InvalidInput, Unavailable

MANIFEST = "backup.json"
OBJECTS = "objects"
FORMAT = 1
CHUNK_BYTES = 1 << 20
ENDS_BYTES = 72
"""At both ends of a file. Of a segment: base, term, chain, and the hash of its last group; of an archive: base, and the
hash of its index; of a blob: its random id. By them two files of a name are the same one."""
TRIES_MAX = 20


class Kept(msgspec.Struct, frozen=True):
    """A file of the copy: its name in the data folder, its bytes, and where they are."""

    name: str
    bytes: int
    sha256: str
    header: str = ""
    """Of a blob or a part of the log that changes no more: SHA-256 of its first and last 72 bytes."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a copy holds and comes to."""

    format: int
    made: str
    version: str
    """Of apex_fast: the bytes of a state are those of one version."""
    partitions: int
    start: int
    position: int
    """Records in the log; those from `start` on are in the copy."""
    term: int
    chain: str
    """Hash of the last group."""
    state: str
    """Hash of the machine's state after the last record."""
    files: list[Kept]


def back_up(data: Path, copy: Path, partitions: int, version: str, key_file: str | None) -> Manifest:
    """Copy the data folder to ``copy``, which is empty, absent or an earlier copy. Blocks.

    Raises InvalidInput where ``copy`` is something else; LogError where the log or the copy of it is damaged; OSError.
    """
    before = _manifest_before(copy)
    (copy / OBJECTS).mkdir(parents=True, exist_ok=True)
    history, files = _copy_log(data / LOG, copy, before.files if before else [], key_file)
    # After the log, so that what a record names is there.
    files += [_store(path, copy, path.relative_to(data).as_posix()) for path in _finished(data / PLANS)]
    before_by_name = {kept.name: kept for kept in before.files} if before else {}
    files += [
        _store_unchanging(path, copy, path.relative_to(data).as_posix(), path.stat().st_size, before_by_name)
        for path in _finished(data / BLOBS)
    ]
    manifest = Manifest(
        format=FORMAT,
        made=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        version=version,
        partitions=partitions,
        start=history.view.start,
        position=history.view.position,
        term=history.view.term,
        chain=f"sha256:{history.view.chain}",
        state="",
        files=files,
    )
    with _laid_out(manifest, copy, copy / "proof.new") as folder:
        manifest = msgspec.structs.replace(manifest, state=_state_of(folder, manifest, key_file))
    _write(copy / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)))
    named = {kept.sha256 for kept in files}
    for unused in (copy / OBJECTS).iterdir():
        if unused.name not in named:
            unused.unlink()
    return manifest


def restore(copy: Path, folder: Path, version: str, key_file: str | None) -> Manifest:
    """Make the data folder ``folder`` of a copy: whole and proved, or not there. Blocks.

    Raises InvalidInput where ``copy`` is no copy or ``folder`` is in use; Unavailable (BACKUP_DAMAGED) where it is not
    what was copied; OSError.
    """
    manifest = read_manifest(copy)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InvalidInput(f"{folder} is not empty; name a folder that does not exist yet")
    beside = folder.with_name(f"{folder.name}.new")
    with _laid_out(manifest, copy, beside, lends=False):
        state = _state_of(beside, manifest, key_file)
        if state != manifest.state and version == manifest.version:
            raise _damaged(copy, f"its records come to the state {state}, not {manifest.state}")
        for path in (*beside.rglob("*"), beside):
            _sync(path)
        if folder.exists():
            folder.rmdir()
        beside.rename(folder)
    _sync(folder.absolute().parent)
    return manifest


def read_manifest(copy: Path) -> Manifest:
    """What a copy says of itself. Raises InvalidInput."""
    try:
        manifest = msgspec.json.decode((copy / MANIFEST).read_bytes(), type=Manifest)
    except FileNotFoundError:
        raise InvalidInput(f"{copy} is no backup: it has no {MANIFEST}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{copy / MANIFEST} cannot be read: {error}") from None
    if manifest.format != FORMAT:
        raise InvalidInput(f"{copy} is a backup of format {manifest.format}; this version reads {FORMAT}")
    for kept in manifest.files:
        if Path(kept.name).is_absolute() or ".." in Path(kept.name).parts:
            raise InvalidInput(f"{copy / MANIFEST} names a file outside the folder: {kept.name}")
    return manifest


def _finished(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".new"))


def _manifest_before(copy: Path) -> Manifest | None:
    if (copy / MANIFEST).exists():
        return read_manifest(copy)
    if copy.exists() and (not copy.is_dir() or any(child.name != OBJECTS for child in copy.iterdir())):
        raise InvalidInput(f"{copy} holds something that is no backup; name an empty folder, or one with a backup")
    return None


def _copy_log(
    log: Path, copy: Path, files_before: list[Kept], key_file: str | None
) -> tuple[FolderHistory, list[Kept]]:
    """The log as it is at one moment. It is looked at anew where its owner took a file away meanwhile."""
    before = {kept.name: kept for kept in files_before}
    for attempt in range(TRIES_MAX):
        try:
            meta = (log / "meta").read_bytes()
            history = FolderHistory(log, key_file)
            files = [_store(log / name, copy, f"{LOG}/{name}") for name in ("meta", "keys") if (log / name).exists()]
            if history.snapshot is not None:
                name = f"snapshot-{history.snapshot[0]:020}"
                files.append(_store(log / name, copy, f"{LOG}/{name}"))
            for name, size, is_sealed in history.view.files():
                files.append(_store_part(log / name, copy, size, is_sealed, before))
            if (log / "meta").read_bytes() == meta:
                return history, files
        except FileNotFoundError:
            if attempt == TRIES_MAX - 1 or not (log / "meta").exists():
                raise
    raise Unavailable(f"{log} changed {TRIES_MAX} times while it was copied; try again")


def _store_part(path: Path, copy: Path, size: int, is_sealed: bool, before: dict[str, Kept]) -> Kept:
    name = f"{LOG}/{path.name}"
    return _store_unchanging(path, copy, name, size, before) if is_sealed else _store(path, copy, name, size)


def _store_unchanging(path: Path, copy: Path, name: str, size: int, before: dict[str, Kept]) -> Kept:
    """Copy a file that never changes again, unless the earlier copy has it."""
    with path.open("rb") as file:
        digest = hashlib.sha256(file.read(ENDS_BYTES))
        file.seek(max(size - ENDS_BYTES, 0))
        digest.update(file.read(min(size, ENDS_BYTES)))
    header = digest.hexdigest()
    kept = before.get(name)
    if kept is not None and (kept.header, kept.bytes) == (header, size) and (copy / OBJECTS / kept.sha256).exists():
        return kept
    return msgspec.structs.replace(_store(path, copy, name, size), header=header)


def _store(path: Path, copy: Path, name: str, size: int | None = None) -> Kept:
    """Copy a file, or its first ``size`` bytes, durably."""
    digest, left, total = hashlib.sha256(), size, 0
    fresh = copy / OBJECTS / "copy.new"
    with path.open("rb") as source, fresh.open("wb") as target:
        while chunk := source.read(CHUNK_BYTES if left is None else min(CHUNK_BYTES, left)):
            digest.update(chunk)
            target.write(chunk)
            total += len(chunk)
            left = None if left is None else left - len(chunk)
        target.flush()
        os.fsync(target.fileno())
    fresh.rename(copy / OBJECTS / digest.hexdigest())
    _sync(copy / OBJECTS)
    return Kept(name, total, digest.hexdigest())


@contextmanager
def _laid_out(manifest: Manifest, copy: Path, folder: Path, *, lends: bool = True) -> Iterator[Path]:
    """The files of a copy under their names in ``folder``, which is gone afterwards unless it was moved away.

    ``lends``: the files are those of the copy, to be read; else copies of them, each checked.
    """
    shutil.rmtree(folder, ignore_errors=True)
    try:
        (folder / LOG).mkdir(parents=True)
        for kept in manifest.files:
            place = folder / kept.name
            place.parent.mkdir(parents=True, exist_ok=True)
            source = copy / OBJECTS / kept.sha256
            if lends:
                place.symlink_to(source.absolute())
            else:
                _copy_checked(source, place, kept, copy)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _copy_checked(source: Path, place: Path, kept: Kept, copy: Path) -> None:
    try:
        shutil.copyfile(source, place)
    except FileNotFoundError:
        raise _damaged(copy, f"{kept.name} is missing") from None
    with place.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != kept.sha256:
            raise _damaged(copy, f"the bytes of {kept.name} are not those that were copied")


def _state_of(folder: Path, manifest: Manifest, key_file: str | None) -> str:
    """Verify every record of a data folder and fold it; the hash of the state that comes out."""
    verdict = verify_log(str(folder / LOG), key_file)
    if verdict.damage is not None:
        file, offset, position, reason = verdict.damage
        raise LogError("DAMAGED", f"{file} is damaged at byte {offset} (record {position}): {reason}")
    if (verdict.position, f"sha256:{verdict.chain}") != (manifest.position, manifest.chain):
        raise LogError("DAMAGED", f"the log ends at {verdict.position}, not at {manifest.position}")
    machine = recover(FolderHistory(folder / LOG, key_file), manifest.partitions, {})
    return f"sha256:{hashlib.sha256(machine.snapshot()).hexdigest()}"


def _damaged(copy: Path, reason: str) -> Unavailable:
    return Unavailable(f"the backup in {copy} is damaged: {reason}", code="BACKUP_DAMAGED")


def _write(path: Path, content: bytes) -> None:
    fresh = path.with_name(f"{path.name}.new")
    with fresh.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
