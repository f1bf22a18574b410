"""Artefact to artefact: the recursive walk over ``edges`` and the tree that is made of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import duckdb

from cxr_assets.warehouse.audit_tree import DERIVED, DIRECT, AuditNode, Link, strictest_known
from cxr_assets.warehouse.sqlfiles import read_sql

SHOWN = 6
"""Things of one kind that are listed one by one unless everything is asked for."""
DEEPEST = 40
_CARRIES_ROWS = ("training_set", "predictions")
Row = dict[str, Any]


def fetch(con: duckdb.DuckDBPyConnection, name: str, /, **params: object) -> list[Row]:
    """Rows of a query of ``sql/audit``."""
    found = con.execute(read_sql("audit", name), params)
    names = [column[0] for column in found.description or ()]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def beyond_link(link: Link, kind: str) -> Link:
    """Link of what was made from something with ``link``: rows still go in directly where it is a table of rows."""
    return DIRECT if link == DIRECT and kind in _CARRIES_ROWS else DERIVED if link else ""


class Graph:
    """The part of the artefact graph that can be reached from some artefacts in one direction."""

    def __init__(
        self, con: duckdb.DuckDBPyConnection, starts: Sequence[str], *, upward: bool, everything: bool = False
    ) -> None:
        self._everything = everything
        self._next: dict[str, dict[tuple[str, str], list[str]]] = defaultdict(lambda: defaultdict(list))
        ids = set(starts)
        for row in fetch(con, "walk_up" if upward else "walk_down", starts=list(starts)):
            self._next[row["here"]][row["kind"], row["relation"]].append(row["beyond"])
            ids.add(row["beyond"])
        self._artefacts = {row["artefact_id"]: row for row in fetch(con, "artefacts", ids=sorted(ids))}

    def beyond(self, ids: Sequence[str], *, link: Link = "") -> tuple[AuditNode, ...]:
        """What lies beyond some artefacts, each thing expanded where it is met first."""
        return self._beyond(ids, link, set(ids), 0)

    def node(
        self,
        kind: str,
        ids: Sequence[str],
        *,
        link: Link = "",
        relation: str = "",
        facts: Mapping[str, Any] | None = None,
    ) -> AuditNode:
        """Artefacts of one kind as a node, with what lies beyond them."""
        return self._node(kind, ids, link, relation, set(ids), 0, facts)

    def nodes(self, kind: str, ids: Sequence[str], *, link: Link = "", relation: str = "") -> tuple[AuditNode, ...]:
        """Artefacts of one kind, one by one where they are few, else together."""
        seen = set(ids)
        return tuple(self._node(kind, group, link, relation, seen, 0) for group in self._groups(ids))

    def _groups(self, ids: Sequence[str]) -> list[Sequence[str]]:
        few = self._everything or len(ids) <= SHOWN
        return [[one] for one in ids] if few else [ids]

    def _beyond(self, ids: Sequence[str], link: Link, seen: set[str], depth: int) -> tuple[AuditNode, ...]:
        groups: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
        for one in ids:
            for key, found in self._next[one].items():
                groups[key] |= dict.fromkeys(found)
        nodes: list[AuditNode] = []
        for (kind, relation), members in sorted(groups.items()):
            new = [one for one in members if one not in seen]
            known = [one for one in members if one in seen]
            seen.update(new)
            nodes += [self._node(kind, group, link, relation, seen, depth) for group in self._groups(new) if group]
            nodes += [self._repeated(kind, group, link, relation) for group in self._groups(known) if group]
        return tuple(nodes)

    def _node(
        self,
        kind: str,
        ids: Sequence[str],
        link: Link,
        relation: str,
        seen: set[str],
        depth: int,
        facts: Mapping[str, Any] | None = None,
    ) -> AuditNode:
        leaf = self._leaf(kind, ids, link, relation, dict(facts or {}))
        if depth >= DEEPEST:
            return leaf
        children = self._beyond(ids, beyond_link(link, kind), seen, depth + 1)
        return AuditNode(leaf.kind, leaf.label, leaf.ids, leaf.relation, leaf.link, leaf.terms, leaf.facts, children)

    def _repeated(self, kind: str, ids: Sequence[str], link: Link, relation: str) -> AuditNode:
        """Artefacts whose facts and parents stand elsewhere in the tree."""
        leaf = self._leaf(kind, ids, link, relation, {})
        return AuditNode(kind, leaf.label, leaf.ids, relation, link, leaf.terms, {"shown": "elsewhere"})

    def _leaf(self, kind: str, ids: Sequence[str], link: Link, relation: str, facts: Row) -> AuditNode:
        known = [self._artefacts[one] for one in ids if one in self._artefacts]
        terms = strictest_known(row["terms"] for row in known)
        missing = len(ids) - len(known)
        if len(ids) != 1:
            told = facts | {"rows": sum(row["rows"] or 0 for row in known), "missing": missing or None}
            return AuditNode(kind, f"{len(ids)} {kind}", tuple(ids), relation, link, terms, told)
        if missing:
            told = facts | {"missing": "replaced since, or removed"}
            return AuditNode(kind, f"{kind} {ids[0][:16]}", tuple(ids), relation, link, "", told)
        row = known[0]
        told = facts | {"id": row["artefact_id"], "made_at": row["made_at"], "run": row["run_id"]}
        told |= {name: row[name] for name in ("device", "package_version", "git_commit", "code_version")}
        label = kind if row["partition"] == "all" else f"{kind} {row['partition']}"
        return AuditNode(kind, label, tuple(ids), relation, link, terms, told)
