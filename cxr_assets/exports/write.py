"""An export from beginning to end: rows, gate, form, terms, log."""

from __future__ import annotations

import json
import secrets
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cxr_assets.errors import InputError, StorageError, did_you_mean
from cxr_assets.exports.forms import FORMS, NEED_BOXES
from cxr_assets.exports.rows import What, export_rows, gate
from cxr_assets.project import Project
from cxr_assets.warehouse.terms import MAY_EXPORT, strictest

LOG = "exports"
"""Folder of the data root with one record of every export."""


@dataclass(frozen=True)
class Exported:
    """Where an export lies, how many images it has, and the strictest of their terms."""

    folder: Path
    images: int
    terms: str


def export(
    project: Project,
    what: What,
    form: str,
    out: Path,
    *,
    split: str | None = None,
    method: str | None = None,
    despite: str | None = None,
) -> Exported:
    """Write images in one form to a folder that is not there yet; it appears whole, or not at all.

    Args:
        form: one of ``FORMS``; boxes are of real films only.
        despite: see ``gate``.

    Raises:
        InputError: unknown form, folder that is there already, nothing to export.
        CheckError: terms forbid it.
        StorageError: the folder cannot be written.
    """
    if form not in FORMS:
        raise InputError(f"export form {form!r} does not exist.{did_you_mean(form, FORMS)} Choose {', '.join(FORMS)}.")
    if form in NEED_BOXES and what != "real":
        raise InputError(f"export form {form!r} is of boxes, and synthetic images have none. Choose --what real.")
    target = out.expanduser().resolve()
    if target.exists():
        raise InputError(f"{target} is there already. Name a folder that is not; nothing was written.")
    rows = export_rows(project, what, split=split, method=method, boxed=form in NEED_BOXES)
    counts = gate(rows, despite=despite)
    hidden = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    record = {
        "exported_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cohort": project.resolved.cohort,
        "what": what,
        "form": form,
        "split": split,
        "method": method,
        "images": rows.height,
        "terms": counts,
        "strictest": strictest(counts),
        "despite_terms": despite,
        "inputs": {m.asset: m.digest for m in project.store.manifests() if m.asset in ("studies", "synthetic_set")},
    }
    try:
        hidden.mkdir(parents=True)
        with project.progress.task(f"export {form}", rows.height) as advance:
            FORMS[form](project, rows, hidden, advance)
        (hidden / "export.json").write_text(json.dumps(record, indent=1))
        (hidden / "TERMS.md").write_text(terms_page(project, counts, despite))
        hidden.replace(target)
    except OSError as error:
        raise StorageError(f"cannot write {target}: {error.strerror or error}. Nothing of it was left.") from error
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
    stamp = str(record["exported_at"]).replace(":", "").replace("+0000", "Z")
    log = json.dumps(record | {"folder": str(target)}, indent=1).encode()
    project.store.put_bytes(f"{LOG}/{stamp}-{secrets.token_hex(3)}.json", log)
    return Exported(target, rows.height, strictest(counts))


def terms_page(project: Project, counts: dict[str, int], despite: str | None) -> str:
    """What goes with the images: their terms, their source, and the decision that let them out if one was needed."""
    spec = project.spec
    lines = [f"# Terms of this export\n\nCohort: {spec.title}. {spec.attribution}\n\nTerms: {spec.terms_url}\n"]
    for tag, count in counts.items():
        lines.append(f"- `{tag}`: {count} images. {MAY_EXPORT.get(tag, 'These terms do not allow passing them on.')}")
    if despite:
        lines.append(f"\nExported although the terms say no, by this decision: {despite}")
    lines.append("\nEvery row carries its own terms. Do not try to identify anybody.")
    return "\n".join(lines) + "\n"
