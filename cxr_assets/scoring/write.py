"""The folder of a scorecard: tables, the page in two forms, and ``scorecard.json``, which says how they were made."""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
from pathlib import Path

from cxr_assets.errors import InputError, StorageError
from cxr_assets.scoring.report import pages
from cxr_assets.scoring.score import Scored

KIND = "cxr scorecard"
FILE = "scorecard.json"


def refuse_folder(out: Path | str) -> Path:
    """The folder to write, resolved. Raises InputError where something is there that is not a former scorecard."""
    target = Path(out).expanduser().resolve()
    if not target.exists():
        return target
    names = {path.name for path in target.iterdir()} if target.is_dir() else {target.name}
    if not names:
        return target
    try:
        former = json.loads((target / FILE).read_text(encoding="utf-8"))
        ours = former["kind"] == KIND and names <= {FILE, *former["files"]}
    except (OSError, ValueError, KeyError, TypeError):
        ours = False
    if not ours:
        raise InputError(
            f"{target} holds something else than a former scorecard: {', '.join(sorted(names)[:5])}. Name another folder with"
            " --out; nothing was written."
        )
    return target


def write_scored(scored: Scored, out: Path | str) -> Path:
    """Write tables, pages and ``scorecard.json``; the folder appears whole, or stays as it was.

    Raises:
        InputError: where ``out`` holds anything but a former scorecard, which is replaced.
        StorageError: where it cannot be written.
    """
    target = refuse_folder(out)
    token = secrets.token_hex(4)
    hidden, aside = (target.with_name(f".{target.name}.{token}.{end}") for end in ("tmp", "old"))
    try:
        hidden.mkdir(parents=True)
        for name, frame in scored.tables().items():
            frame.write_parquet(hidden / f"{name}.parquet")
        for name, page in pages(scored).items():
            (hidden / name).write_text(page, encoding="utf-8")
        files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(hidden.iterdir())}
        text = json.dumps(scored.facts | {"kind": KIND, "files": files}, indent=1, ensure_ascii=False)
        (hidden / FILE).write_text(text + "\n", encoding="utf-8")
        if target.exists():
            target.replace(aside)
        try:
            hidden.replace(target)
        except OSError:
            if aside.exists():
                aside.replace(target)
            raise
    except OSError as error:
        raise StorageError(f"cannot write {target}: {error.strerror or error}. What was there is as it was.") from error
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
    shutil.rmtree(aside, ignore_errors=True)
    return target
