"""Where the data of some studies went: what they were an input of, and what learned from that."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb

from cxr_assets.warehouse.audit_graph import SHOWN, Graph, Row, fetch
from cxr_assets.warehouse.audit_tree import DERIVED, DIRECT, AuditNode, Link, strictest_known


def person_down(con: duckdb.DuckDBPyConnection, everything: bool) -> tuple[AuditNode, ...]:
    """Everything that the chosen studies (temp table ``chosen``) went into.

    ``direct`` says that rows of theirs were an input; ``derived`` that something which learned from them was. A
    withdrawal takes the rows out of the first, and asks what to do about the second.
    """
    rows = {row["table"]: row["rows"] for row in fetch(con, "rows_about") if row["rows"]}
    own = AuditNode("rows", "rows about them", link=DIRECT, facts=rows)
    return (
        own,
        *_models(con),
        *_adapters(con, everything),
        *_training_sets(con, everything),
        *_predictions(con, everything),
    )


def _models(con: duckdb.DuckDBPyConnection) -> tuple[AuditNode, ...]:
    """Detector, base model from scratch, plan; classifiers whose thresholds were chosen on these films."""
    found = fetch(con, "learned_from")
    tuned = [row for row in found if row["asset"] == "classifier"]
    nodes = [_plain(row, DERIVED if row["asset"] == "synthesis_plan" else DIRECT) for row in found if row not in tuned]
    if len(tuned) <= SHOWN:
        return (*nodes, *(_plain(row, DIRECT) for row in tuned))
    ids = tuple(row["artefact_id"] for row in tuned)
    terms = strictest_known(row["terms"] for row in tuned)
    return (
        *nodes,
        AuditNode("classifier", f"{len(ids)} classifier", ids, "fitted_on", DIRECT, terms, {"how": tuned[0]["how"]}),
    )


def _plain(row: Row, link: Link) -> AuditNode:
    label = row["asset"] if row["partition"] == "all" else f"{row['asset']} {row['partition']}"
    return AuditNode(row["asset"], label, (row["artefact_id"],), "", link, row["terms"], {"how": row["how"]})


def _adapters(con: duckdb.DuckDBPyConnection, everything: bool) -> tuple[AuditNode, ...]:
    """Adapters they trained, every image drawn with them, and the training sets that hold such images."""
    nodes = []
    for row in fetch(con, "adapters_of"):
        facts = {"id": row["artefact_id"], "studies_used": row["studies_used"], "times_seen": row["times_seen"]}
        methods = [row["method"]]
        drawn = []
        for images in fetch(con, "images_of", methods=methods):
            listed = fetch(con, "image_list", id=row["method"]) if everything else []
            children = tuple(
                AuditNode(
                    "image",
                    f"image {one['image_id']}",
                    (one["image_id"],),
                    "drawn_with",
                    DERIVED,
                    one["terms"] or "",
                    {"stratum": one["stratum"], "file": one["file"]},
                )
                for one in listed
            )
            counts = {"strata": images["strata"], "drawn_with_an_earlier_adapter": images["stale"] or None}
            drawn.append(
                AuditNode(
                    "synthetic_images",
                    f"{images['images']} synthetic images",
                    (),
                    "drawn_with",
                    DERIVED,
                    row["terms"],
                    counts,
                    children,
                )
            )
        arms = fetch(con, "arms_of_methods", methods=methods)
        below = (*drawn, *_arms(con, arms, DERIVED, "synthetic_images_of_it", everything))
        nodes.append(
            AuditNode(
                "adapter",
                f"adapter {row['method']}",
                (row["artefact_id"],),
                "trained_on",
                DIRECT,
                row["terms"],
                facts,
                below,
            )
        )
    return tuple(nodes)


def _training_sets(con: duckdb.DuckDBPyConnection, everything: bool) -> tuple[AuditNode, ...]:
    return _arms(con, fetch(con, "arms_of_studies"), DIRECT, "films_of_theirs", everything)


def _arms(
    con: duckdb.DuckDBPyConnection, arms: Sequence[Row], link: Link, counted: str, everything: bool
) -> tuple[AuditNode, ...]:
    """Training sets of some arms, their classifiers (stale ones too) and what was made of those."""
    if not arms:
        return ()
    names = [row["arm"] for row in arms]
    sets = {
        r["partition"]: r["artefact_id"] for r in fetch(con, "artefacts_of", asset="training_set", partitions=names)
    }
    classifiers = fetch(con, "classifiers_of", arms=names)
    graph = Graph(
        con, [*sets.values(), *(row["artefact_id"] for row in classifiers)], upward=False, everything=everything
    )
    if not everything and len(names) > SHOWN:
        total = sum(row["rows"] for row in arms)
        together = graph.node(
            "training_set",
            [sets[n] for n in names if n in sets],
            link=link,
            relation="mixed_from",
            facts={counted: total, "arms": names},
        )
        return (together, *_stale(graph, classifiers, link))
    each = [
        graph.node("training_set", [sets[row["arm"]]], link=link, relation="mixed_from", facts={counted: row["rows"]})
        for row in arms
        if row["arm"] in sets
    ]
    return (*each, *_stale(graph, classifiers, link))


def _stale(graph: Graph, classifiers: Sequence[Row], link: Link) -> tuple[AuditNode, ...]:
    """Classifiers trained on an earlier version of their set: whose rows it held is no longer known."""
    ids = [row["artefact_id"] for row in classifiers if row["stale"] and row["artefact_id"]]
    facts = {"note": "trained on an earlier version of this training set"}
    return (graph.node("classifier", ids, link=link, relation="trained_on", facts=facts),) if ids else ()


def _predictions(con: duckdb.DuckDBPyConnection, everything: bool) -> tuple[AuditNode, ...]:
    made = fetch(con, "predictions_of")
    ids = [row["artefact_id"] for row in made if row["artefact_id"]]
    if not ids:
        return ()
    graph = Graph(con, ids, upward=False, everything=everything)
    return graph.nodes("predictions", ids, link=DIRECT, relation="evaluated_on")
