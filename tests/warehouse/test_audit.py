"""Lineage both ways, on a project in miniature and on graphs with a cycle."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from cxr_assets.errors import InputError
from cxr_assets.warehouse.audit import AuditNode, AuditTree, audit, to_json, to_text
from cxr_assets.warehouse.audit_graph import Graph
from cxr_assets.warehouse.connect import connect
from tests.warehouse.miniature import ARM, LEARNER, write_arm
from tests.warehouse.writer import Writer

IMAGE = "f0" * 16


def _kinds(nodes: tuple[AuditNode, ...]) -> set[str]:
    return {below.kind for node in nodes for below in node.walk()}


def _linked(tree: AuditTree, kind: str) -> dict[str, str]:
    return {node.label: node.link for node in tree.walk() if node.kind == kind}


def test_a_synthetic_image_leads_up_to_source_files_and_terms(shared_root: Path) -> None:
    tree = audit(shared_root, "image", IMAGE)
    assert {"synthetic_images", "adapter", "base_model", "studies", "adapter_training_rows", "source"} <= _kinds(
        tree.up
    )
    assert tree.facts["synthetic"] and tree.facts["run_id"] == "run-1"
    assert tree.terms == "nih-open"
    source = next(node for node in tree.up if node.kind == "source")
    assert source.facts["terms_url"] == "https://example.org/terms" and source.facts["studies"] == 3


def test_a_synthetic_image_leads_down_to_the_scorecards_of_its_arms_only(shared_root: Path) -> None:
    tree = audit(shared_root, "image", IMAGE)
    assert {"training_set", "classifier", "predictions", "fairness_scorecard", "report"} <= _kinds(tree.down)
    assert [node.label for node in tree.down] == [f"training_set {ARM}"]


def test_a_rejected_image_went_nowhere(shared_root: Path) -> None:
    assert audit(shared_root, "image", "f1" * 16).down == ()


def test_a_real_image_starts_at_its_source_row(shared_root: Path) -> None:
    tree = audit(shared_root, "image", "s0")
    assert [(node.relation, node.facts["row_number"]) for node in tree.up] == [("label", 2)]
    assert {"adapter", "training_set", "classifier"} <= _kinds(tree.down)


def test_a_training_patient_is_direct_in_what_read_their_rows_and_derived_beyond(shared_root: Path) -> None:
    tree = audit(shared_root, "patient", "p1")
    assert _linked(tree, "adapter") == {"adapter demographic_text": "direct"}
    assert _linked(tree, "synthetic_images") == {"4 synthetic images": "derived"}
    tops = {(node.label, node.link) for node in tree.down if node.kind == "training_set"}
    assert tops == {("training_set real.r000", "direct"), (f"training_set {ARM}", "direct")}
    below = next(node for node in tree.down if node.label == "training_set real.r000")
    assert {node.kind: node.link for node in below.walk()} == {
        "training_set": "direct",
        "classifier": "direct",
        "predictions": "derived",
        "fairness_scorecard": "derived",
        "report": "derived",
    }
    through = next(node for node in tree.down if node.kind == "adapter")
    assert {node.link for node in through.walk() if node.kind in ("training_set", "classifier")} == {"derived"}


def test_images_of_a_patient_are_listed_only_on_request(shared_root: Path) -> None:
    assert not any(node.kind == "image" for node in audit(shared_root, "patient", "p1").walk())
    listed = [node for node in audit(shared_root, "patient", "p1", all=True).walk() if node.kind == "image"]
    assert len(listed) == 4 and {node.link for node in listed} == {"derived"}


def test_a_validate_patient_chose_thresholds_and_nothing_else(shared_root: Path) -> None:
    tree = audit(shared_root, "patient", "p3")
    assert set(_linked(tree, "classifier").values()) == {"direct"} and len(_linked(tree, "classifier")) == 2
    assert not _kinds(tree.down) & {"adapter", "training_set", "predictions"}


def test_boxes_of_a_training_patient_trained_the_detector_if_there_is_one(root: Path) -> None:
    writer = Writer(root)
    writer.put("disease_regions", parents={"studies~all": "trained_on"}, regions=pl.DataFrame({"study_id": ["s4"]}))
    assert "disease_regions" not in _kinds(audit(root, "patient", "p1").down)
    writer.put("disease_regions", files={"detectors/ab/detector.safetensors": b"w"})
    assert _linked(audit(root, "patient", "p1"), "disease_regions") == {"disease_regions": "direct"}
    assert "disease_regions" not in _kinds(audit(root, "patient", "p2").down)


def test_a_test_patient_is_in_predictions_and_scorecards_alone(shared_root: Path) -> None:
    tree = audit(shared_root, "patient", "p4")
    assert set(_linked(tree, "predictions").values()) == {"direct"}
    assert set(_linked(tree, "fairness_scorecard").values()) == {"direct"}
    assert not _kinds(tree.down) & {"adapter", "training_set", "classifier"}


@pytest.mark.parametrize("identity", ["demographic_text", "a" * 64, "aaaaaa"])
def test_an_adapter_is_found_by_method_digest_or_beginning(shared_root: Path, identity: str) -> None:
    tree = audit(shared_root, "adapter", identity)
    assert tree.id == "demographic_text" and tree.facts["patients"] == 2
    assert {"latents", "studies", "base_model"} <= _kinds(tree.up)
    assert {"synthetic_images", "synthetic_set", "training_set", "classifier", "report"} <= _kinds(tree.down)


def test_a_classifier_shows_its_mix_and_the_way_to_the_adapter(shared_root: Path) -> None:
    tree = audit(shared_root, "classifier", f"{ARM}~{LEARNER}")
    assert {"3 real films", "2 synthetic demographic_text films"} <= {node.label for node in tree.up}
    assert {"training_set", "synthetic_set", "synthetic_images", "adapter"} <= _kinds(tree.up)
    assert {"predictions", "fairness_scorecard"} <= _kinds(tree.down)


def test_a_classifier_of_an_earlier_training_set_is_not_lost(root: Path) -> None:
    writer = Writer(root)
    old = writer.store.manifest("classifier", {"arm": ARM, "learner": LEARNER})
    assert old is not None
    rows = writer.rows("training_set_rows", f"arm={ARM}").with_columns(weight=2.0)
    writer.put("training_set", {"arm": ARM}, training_set_rows=rows)
    stale = [node for node in audit(root, "patient", "p1").walk() if "note" in node.facts]
    assert {node.ids for node in stale} == {(old.digest,)}


def test_many_of_a_kind_are_counted_unless_all_are_asked_for(root: Path) -> None:
    writer = Writer(root)
    studies = writer.rows("studies")
    rows = writer.rows("training_set_rows", "arm=real.r000").drop("arm")
    for number in range(7):
        write_arm(writer, f"real.r00{number}", rows, studies)
    counted = audit(root, "patient", "p1")
    assert "8 training_set" in {node.label for node in counted.down}
    listed = audit(root, "patient", "p1", all=True)
    assert len([node for node in listed.down if node.kind == "training_set"]) == 8
    with pytest.raises(InputError, match=r"fits real.r000~small_cnn.s0, real.r001~small_cnn.s0"):
        audit(root, "classifier", "real.r0")


def test_a_cycle_of_edges_ends(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    first = writer.put("studies", studies=pl.DataFrame({"study_id": ["s"]}))
    with writer.store.writing("captions", inputs={}, config_digest="c", code_version="1") as captions:
        captions.table("captions", pl.DataFrame({"study_id": ["s"]}))
        captions.edge(first.digest, "studies", "drawn_from")
    assert captions.manifest is not None
    with writer.store.writing("studies", inputs={}, config_digest="c", code_version="1") as again:
        again.table("studies", pl.DataFrame({"study_id": ["s"]}))
        again.edge(captions.manifest.digest, "captions", "drawn_from")
    with connect(tmp_path) as con:
        for upward in (True, False):
            (node,) = Graph(con, [first.digest], upward=upward).beyond([first.digest])
            assert [(n.kind, n.facts.get("shown")) for n in node.walk()] == [
                ("captions", None),
                ("studies", "elsewhere"),
            ]


@pytest.mark.parametrize(
    ("kind", "identity", "told"),
    [
        ("patient", "p9", "nearest are p1"),
        ("image", "0" * 32, "nearest are"),
        ("scorecard", "x", "none of image, patient"),
        ("classifier", "real.r000~small_cnn.s9", "real.r000~small_cnn.s0"),
    ],
)
def test_an_unknown_id_names_the_nearest(shared_root: Path, kind: str, identity: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        audit(shared_root, kind, identity)


def test_a_beginning_of_few_letters_is_no_id(shared_root: Path) -> None:
    for identity in ("", "f0f0f"):
        with pytest.raises(InputError, match="no image"):
            audit(shared_root, "image", identity)


def test_an_empty_root_has_nothing_to_audit(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no patient yet"):
        audit(tmp_path, "patient", "p1")


def test_text_and_json_tell_the_same_tree(shared_root: Path) -> None:
    tree = audit(shared_root, "patient", "p1")
    text = to_text(tree)
    assert text.startswith("patient p1") and "came from" in text and "went into" in text
    loaded = json.loads(to_json(tree))
    assert {node["label"] for node in loaded["down"]} == {node.label for node in tree.down}
    assert all(node.label in text for node in tree.down)
