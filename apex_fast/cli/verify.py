"""`apex verify`: walk the whole log and name the first record that cannot be trusted."""

import argparse
import json
from pathlib import Path

from apex_fast.app import log_folder
from apex_fast.cli.configured import add_config, settings_of
from apex_fast.cli.screen import Screen
from apex_fast.core import verify_log
from apex_fast.domain import LogError, LogVerdict
from apex_fast.errors import Unavailable


def add_to(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb's grammar."""
    words = "check every record of a log, also while it is served"
    verb = verbs.add_parser("verify", help=words, description=words.capitalize() + ".")
    verb.add_argument("folder", nargs="?", type=Path, metavar="FOLDER", help="data folder (default: data.dir)")
    add_config(verb)
    verb.add_argument("--json", action="store_true", help="print one JSON object")
    verb.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """0 if every record is what was written, else 1."""
    settings = settings_of(arguments, arguments.folder)
    folder = log_folder(settings)
    try:
        verdict = verify_log(str(folder), settings.log.key_file or None)
    except LogError as error:
        raise Unavailable(f"cannot read the log in {folder}: {error}", code=f"LOG_{error.code}") from error
    if arguments.json:
        print(json.dumps(described(folder, verdict), indent=2))
    else:
        show(Screen(), folder, verdict)
    return 0 if verdict.damage is None else 1


def described(folder: Path, verdict: LogVerdict) -> dict[str, object]:
    """The verdict as JSON; `damage` is null where all is well."""
    if verdict.damage is not None:
        file, offset, position, reason = verdict.damage
        damage = {"position": position, "file": file, "offset": offset, "reason": reason}
        return {"ok": False, "folder": str(folder), "damage": damage}
    return {
        "ok": True,
        "folder": str(folder),
        "start": verdict.start,
        "position": verdict.position,
        "term": verdict.term,
        "chain": f"sha256:{verdict.chain}",
        "files": verdict.files,
        "bytes": verdict.bytes,
        "unfinished": verdict.unfinished,
        "damaged_snapshots": verdict.damaged_snapshots,
        "damage": None,
    }


def show(screen: Screen, folder: Path, verdict: LogVerdict) -> None:
    """The verdict for a person."""
    if verdict.damage is not None:
        file, offset, position, reason = verdict.damage
        screen.bad(f"record {position} of {folder} cannot be trusted: {file}, byte {offset}: {reason}")
        return
    screen.good(
        f"{verdict.position - verdict.start} records, {verdict.bytes} bytes in {verdict.files} files of {folder}"
    )
    screen.fact("records", f"{verdict.start} to {verdict.position}, term {verdict.term}")
    screen.fact("chain", f"sha256:{verdict.chain}")
    if verdict.unfinished is not None:
        screen.fact("unfinished", f"{verdict.unfinished}: being written, or cut at the next start")
    for snapshot in verdict.damaged_snapshots:
        screen.fact("passed over", snapshot)
