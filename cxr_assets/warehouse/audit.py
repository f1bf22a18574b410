"""Audits: what an image, an adapter or a classifier came from and went into, and where a patient's data went."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import duckdb

from cxr_assets.errors import InputError
from cxr_assets.warehouse.audit_graph import SHOWN, Graph, Row, fetch
from cxr_assets.warehouse.audit_people import person_down
from cxr_assets.warehouse.audit_tree import AuditNode, AuditTree, strictest_known, to_json, to_text
from cxr_assets.warehouse.connect import connect, unreadable

__all__ = ["AuditNode", "AuditTree", "audit", "to_json", "to_text"]
Kind = Literal["image", "patient", "adapter", "classifier"]


def audit(root: Path | str, kind: str, identity: str, *, all: bool = False) -> AuditTree:
    """Lineage of one thing, both ways.

    Args:
        kind: image, patient, adapter or classifier.
        identity: id of a synthetic image, study_id of a real one, patient_id; for an adapter its method or digest, for
            a classifier ``arm~learner`` or its digest. The first six or more characters do where they say enough.
        all: list everything one by one, where else more than a few of a kind are counted.

    Raises:
        InputError: unknown kind or id (with the nearest ids), or a beginning that fits several.
        StorageError: the data root is not there, or a part of it is damaged.
    """
    if kind not in get_args(Kind):
        raise InputError(f"audit kind {kind!r} is none of {', '.join(get_args(Kind))}.")
    with connect(root) as con:
        try:
            return _trace(con, kind, identity, all)
        except duckdb.Error as error:
            raise unreadable(root, f"lineage of {kind} {identity!r}", error) from error


def _trace(con: duckdb.DuckDBPyConnection, kind: str, identity: str, everything: bool) -> AuditTree:
    fetch(con, "load")
    key, what = _find(con, kind, identity)
    view = _Audit(con, key, everything)
    by: dict[str, Callable[[], AuditTree]] = {
        "synthetic": view.synthetic_image,
        "real": view.real_image,
        "patient": view.patient,
        "adapter": view.adapter,
        "classifier": view.classifier,
    }
    return by[what]()


def _find(con: duckdb.DuckDBPyConnection, kind: str, identity: str) -> tuple[str, str]:
    fetch(con, f"ids_{kind}")
    found = fetch(con, "find", id=identity)
    if found and (found[0]["exact"] or len(found) == 1):
        return found[0]["key"], found[0]["what"]
    if found:
        raise InputError(f"{kind} {identity!r} fits {', '.join(row['key'] for row in found)}. Give more of the id.")
    near = [row["id"] for row in fetch(con, "nearest", id=identity)]
    hint = f"The nearest are {', '.join(near)}." if near else f"There is no {kind} yet."
    raise InputError(f"no {kind} {identity!r} in this data root. {hint}")


@dataclass(frozen=True)
class _Audit:
    con: duckdb.DuckDBPyConnection
    key: str
    everything: bool

    def synthetic_image(self) -> AuditTree:
        row = fetch(self.con, "image", id=self.key)[0]
        keys = "~".join(row[name] for name in ("method", "finding", "age", "sex", "race"))
        strata = self._artefacts("synthetic_images", [keys])
        fetch(self.con, "choose_adapter", id=row["method"])
        up = (*self._graph(strata, upward=True).nodes("synthetic_images", strata), *self._learned_from(row["method"]))
        wanted = (
            "stratum",
            "index",
            "labels",
            "prompt",
            "seed",
            "sampler",
            "steps",
            "guidance",
            "base_id",
            "adapter_id",
            "file",
            "sha256",
            "passed_quality",
            "reject_reason",
            "run_id",
        )
        return self._tree(
            "image",
            {"synthetic": True} | {name: row[name] for name in wanted},
            [row["terms"]],
            up,
            self._arms(fetch(self.con, "arms_of_image", id=self.key)),
        )

    def real_image(self) -> AuditTree:
        fetch(self.con, "choose_study", id=self.key)
        row = fetch(self.con, "studies")[0]
        facts = {"synthetic": False} | {k: v for k, v in row.items() if k not in ("study_id", "terms")}
        return self._tree("image", facts, [row["terms"]], self._sources(), person_down(self.con, self.everything))

    def patient(self) -> AuditTree:
        fetch(self.con, "choose_patient", id=self.key)
        row = fetch(self.con, "patient")[0]
        facts = {k: v for k, v in row.items() if k not in ("patients", "terms")}
        facts |= {"studies_listed": [s["study_id"] for s in fetch(self.con, "studies")]}
        return self._tree("patient", facts, row["terms"], self._sources(), person_down(self.con, self.everything))

    def adapter(self) -> AuditTree:
        row = fetch(self.con, "adapter", id=self.key)[0]
        fetch(self.con, "choose_adapter", id=self.key)
        start = [row["artefact_id"]]
        up = (*self._graph(start, upward=True).beyond(start), *self._learned_from(self.key))
        facts = {k: v for k, v in row.items() if k not in ("terms", "method")}
        return self._tree("adapter", facts, [row["terms"]], up, self._graph(start, upward=False).beyond(start))

    def classifier(self) -> AuditTree:
        row = fetch(self.con, "classifier", id=self.key)[0]
        fetch(self.con, "choose_arm", id=row["arm"])
        start = [row["artefact_id"]]
        rows = tuple(
            AuditNode(
                "training_set_rows",
                f"{mix['films']} {' '.join(filter(None, (mix['origin'], mix['method'])))} films",
                relation="trained_on",
                facts={"patients": mix["patients"], "strata": mix["strata"]},
            )
            for mix in fetch(self.con, "mix_of_arm", id=row["arm"])
        )
        up = (*self._graph(start, upward=True).beyond(start), *rows, *self._sources())
        facts = {k: v for k, v in row.items() if k not in ("terms", "arm", "learner")}
        return self._tree("classifier", facts, [row["terms"]], up, self._graph(start, upward=False).beyond(start))

    def _tree(
        self, kind: str, facts: Row, terms: Sequence[str | None], up: tuple[AuditNode, ...], down: tuple[AuditNode, ...]
    ) -> AuditTree:
        found = [node.terms for top in up for node in top.walk()]
        return AuditTree(kind, self.key, facts, strictest_known([*terms, *found]), up, down)

    def _graph(self, starts: Sequence[str], *, upward: bool) -> Graph:
        return Graph(self.con, starts, upward=upward, everything=self.everything)

    def _artefacts(self, asset: str, partitions: Sequence[str]) -> list[str]:
        return [row["artefact_id"] for row in fetch(self.con, "artefacts_of", asset=asset, partitions=list(partitions))]

    def _arms(self, arms: Sequence[Row]) -> tuple[AuditNode, ...]:
        ids = self._artefacts("training_set", [row["arm"] for row in arms])
        return self._graph(ids, upward=False).nodes("training_set", ids) if ids else ()

    def _learned_from(self, method: str) -> tuple[AuditNode, ...]:
        """The studies that an adapter learned from, and their source files."""
        row = fetch(self.con, "adapter", id=method)
        if not row:
            return ()
        listed = fetch(self.con, "studies") if self.everything else []
        children = tuple(
            AuditNode("study", f"study {s['study_id']}", (s["study_id"],), terms=s["terms"]) for s in listed
        )
        facts = {"patients": row[0]["patients"], "adapter": method}
        return (
            AuditNode(
                "adapter_training_rows",
                f"{row[0]['studies']} training studies",
                relation="trained_on",
                facts=facts,
                children=children,
            ),
            *self._sources(),
        )

    def _sources(self) -> tuple[AuditNode, ...]:
        """Source files of the chosen studies; those of one release and role together where they are many."""
        rows = fetch(self.con, "sources")
        if self.everything or len(rows) <= SHOWN:
            return tuple(
                AuditNode(
                    "source",
                    f"source {row['path']}",
                    (row["source_id"],),
                    row["role"],
                    terms=row["terms"] or "",
                    facts={k: row[k] for k in ("source_id", "row_number", "studies", "release", "terms_url")},
                )
                for row in rows
            )
        groups: dict[tuple[str, str, str, str], list[Row]] = {}
        for row in rows:
            groups.setdefault((row["role"], row["terms"] or "", row["release"], row["terms_url"]), []).append(row)
        return tuple(
            AuditNode(
                "source",
                f"source {members[0]['path']}" if len(members) == 1 else f"{len(members)} source files",
                tuple(m["source_id"] for m in members),
                role,
                terms=terms,
                facts={"release": release, "terms_url": url},
            )
            for (role, terms, release, url), members in groups.items()
        )
