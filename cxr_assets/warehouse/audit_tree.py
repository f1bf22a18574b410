"""What an audit finds, as a tree, and how it is shown to people and machines."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from cxr_assets.warehouse.terms import STRICTNESS, strictest

Link = Literal["", "direct", "derived"]
DIRECT: Link = "direct"
DERIVED: Link = "derived"


_JSON_ONLY = ("device", "package_version", "git_commit", "code_version", "config_digest", "bytes", "files")
"""Facts of every artefact that would drown the tree in text; ``to_json`` has them."""


@dataclass(frozen=True)
class AuditNode:
    """One thing, or several of one kind shown together.

    Attributes:
        link: for a person's data, ``direct`` where the person's own rows were an input, ``derived`` where something
            that learned from them was.
        terms: the strictest terms of the things it stands for; empty where none are known.
    """

    kind: str
    label: str
    ids: tuple[str, ...] = ()
    relation: str = ""
    link: Link = ""
    terms: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    children: tuple[AuditNode, ...] = ()

    def walk(self) -> Iterator[AuditNode]:
        """This node and all below it."""
        yield self
        for child in self.children:
            yield from child.walk()


@dataclass(frozen=True)
class AuditTree:
    """What something was made from (``up``) and what was made from it (``down``)."""

    kind: str
    id: str
    facts: dict[str, Any]
    terms: str
    up: tuple[AuditNode, ...]
    down: tuple[AuditNode, ...]

    def walk(self) -> Iterator[AuditNode]:
        """Every node of both directions."""
        for node in (*self.up, *self.down):
            yield from node.walk()


def strictest_known(tags: Iterable[str | None]) -> str:
    """The strictest of some tags, none left out: a tag nobody knows counts as ``unknown``. Empty for no tag at all."""
    found = [tag if tag in STRICTNESS else "unknown" for tag in tags if tag]
    return strictest(found) if found else ""


def to_json(tree: AuditTree) -> str:
    """The whole tree as JSON, nothing cut."""
    return json.dumps(dataclasses.asdict(tree), indent=1, ensure_ascii=False, default=str)


def to_text(tree: AuditTree, *, width: int = 120) -> str:
    """The tree as text of a terminal, digests cut to 16 digits."""
    shown = Tree(_line(f"{tree.kind} {tree.id}", "", "", tree.terms, tree.facts))
    for title, nodes in (("came from", tree.up), ("went into", tree.down)):
        branch = shown.add(Text(title))
        for node in nodes:
            _add(branch, node)
        if not nodes:
            branch.add(Text("nothing"))
    out = io.StringIO()
    Console(file=out, width=width, color_system=None, legacy_windows=False).print(shown)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def _add(branch: Tree, node: AuditNode) -> None:
    below = branch.add(_line(node.label, node.relation, node.link, node.terms, node.facts))
    for child in node.children:
        _add(below, child)


def _line(label: str, relation: str, link: str, terms: str, facts: dict[str, Any]) -> Text:
    told = [part for part in (link, relation.replace("_", " "), f"terms {terms}" if terms else "") if part]
    shown = {key: value for key, value in facts.items() if key not in _JSON_ONLY and value not in (None, "", [], False)}
    told += [f"{key.replace('_', ' ')} {_short(value)}" for key, value in shown.items()]
    return Text(label + (f" · {' · '.join(told)}" if told else ""))


def _short(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(_short(item) for item in value[:6]) + (f" and {len(value) - 6} more" if len(value) > 6 else "")
    if value is True:
        return "yes"
    text = str(value)
    return text[:16] if len(text) in (32, 40, 64) and all(c in "0123456789abcdef" for c in text) else text
