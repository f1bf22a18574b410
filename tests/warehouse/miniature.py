"""A whole project in miniature, written by hand through the store: two train, one validate and two test patients."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from cxr_assets.warehouse.manifest import sha256_file
from tests.warehouse.writer import Writer

STRATA = (("edema", "18-39", "female", "black"), ("edema", "40-59", "male", "white"))
ARM = "demographic_text.r025"
LEARNER = "small_cnn.s0"


def _studies(root: Path) -> dict[str, pl.DataFrame]:
    splits = ["train", "train", "train", "validate", "test", "test"]
    patients = ["p1", "p1", "p2", "p3", "p4", "p5"]
    files = []
    for number in range(6):
        path = root / "images" / "nih" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"film {number}".encode())
        files.append(path)
    studies = pl.DataFrame(
        {
            "cohort": "nih",
            "study_id": [f"s{i}" for i in range(6)],
            "patient_id": patients,
            "split": splits,
            "age_years": [30.0, 50.0] * 3,
            "sex": ["female", "male"] * 3,
            "race5": ["black", "white", None] * 2,
            "image_file": [path.relative_to(root).as_posix() for path in files],
            "image_digest": [sha256_file(path) for path in files],
            "terms": "nih-open",
        }
    )
    values = studies.select("study_id", pl.Series("edema", [1, 0, 1, 1, 1, None], dtype=pl.Int8))
    vocabulary = pl.DataFrame({"cohort": ["nih"], "finding": ["edema"], "position": [0]})
    sources = pl.DataFrame(
        {
            "source_id": ["f" * 64],
            "cohort": ["nih"],
            "path": ["Data_Entry.csv"],
            "terms": ["nih-open"],
            "terms_url": ["https://example.org/terms"],
            "release": ["v2020"],
            "bytes": [10],
        }
    )
    links = pl.DataFrame(
        {"study_id": studies["study_id"], "source_id": "f" * 64, "row_number": range(2, 8), "role": "label"}
    )
    quarantine = pl.DataFrame(
        {
            "cohort": ["nih"],
            "source": ["Data_Entry.csv"],
            "row": [9],
            "column": ["Patient Age"],
            "value": ["414"],
            "reason": ["age: above 120"],
        }
    )
    boxes = pl.DataFrame({"study_id": ["s0"], "finding": ["edema"], "x": [1.0]})
    return {
        "studies": studies,
        "finding_values": values,
        "cohort_findings": vocabulary,
        "sources": sources,
        "study_sources": links,
        "quarantine": quarantine,
        "boxes": boxes,
    }


def _images(adapter_id: str, stratum: tuple[str, str, str, str]) -> tuple[pl.DataFrame, dict[str, bytes], str]:
    finding, age, sex, race = stratum
    folder = f"images/synthetic/method=demographic_text/finding={finding}/age={age}/sex={sex}/race={race}"
    ids = [f"{sex[0]}{i}" * 16 for i in range(2)]
    files = {f"{folder}/{name}.png": name.encode() for name in ids}
    frame = pl.DataFrame(
        {
            "image_id": ids,
            "method": "demographic_text",
            "finding": finding,
            "age": age,
            "sex": sex,
            "race": race,
            "stratum": ".".join(stratum),
            "index": [0, 1],
            "labels": finding,
            "prompt": f"{race} {sex} with {finding}",
            "seed": [11, 12],
            "adapter_id": adapter_id,
            "file": list(files),
            "sha256": "",
            "terms": "nih-open",
            "passed_quality": [True, False],
            "reject_reason": [None, "contrast 0.010 below 0.05"],
        }
    )
    return frame, files, folder


def write_project(root: Path) -> Writer:
    """Every asset once, from studies to the report."""
    writer = Writer(root)
    put = writer.put
    tables = _studies(root)
    studies = tables["studies"]
    put("studies", frames=tables)
    put("captions", parents={"studies~all": "drawn_from"}, captions=studies.select("study_id", caption=pl.lit("edema")))
    put("base_model", files={"base_models/current.json": b"{}"}, terms="generated")
    train = studies.filter(pl.col("split") == "train").select("study_id", "patient_id", "split")
    put(
        "latents",
        parents={"studies~all": "drawn_from", "captions~all": "drawn_from", "base_model~all": "drawn_with"},
        latent_rows=train,
    )
    adapter = put(
        "adapter",
        {"method": "demographic_text"},
        files={"adapters/method=demographic_text/abc/lora.safetensors": b"weights"},
        parents={"studies~all": "trained_on", "latents~all": "trained_on", "base_model~all": "drawn_with"},
        adapter_training_rows=train.with_columns(adapter_id=pl.lit("a" * 64), weight=1.0, times_seen=pl.lit(7)),
    )
    plan = pl.DataFrame(
        [
            {
                "stratum": ".".join(s),
                "finding": s[0],
                "age": s[1],
                "sex": s[2],
                "race": s[3],
                "real": 1,
                "planned": planned,
            }
            for s, planned in [*zip(STRATA, (2, 3), strict=True), (("edema", "60-79", "male", "black"), 1)]
        ]
    )
    put("synthesis_plan", parents={"studies~all": "drawn_from"}, synthesis_plan=plan)
    parts = []
    for stratum in STRATA:
        frame, files, folder = _images(adapter.digest, stratum)
        keys = dict(zip(("method", "finding", "age", "sex", "race"), ("demographic_text", *stratum), strict=True))
        put(
            "synthetic_images",
            keys,
            parents={"adapter~demographic_text": "drawn_with"},
            files=files,
            facts={"folder": folder},
            synthetic_images=frame,
        )
        parts.append(frame)
    images = pl.concat(parts)
    put(
        "synthetic_catalogue",
        {"finding": "edema", "method": "demographic_text"},
        parents={f"synthetic_images~demographic_text~{'~'.join(s)}": "summarised_from" for s in STRATA},
        synthetic_catalogue=pl.DataFrame({"method": ["demographic_text"], "finding": ["edema"], "state": ["complete"]}),
    )
    put(
        "synthetic_set",
        {"method": "demographic_text"},
        parents={"synthetic_catalogue~edema~demographic_text": "summarised_from"},
        synthetic_set=images,
        synthetic_quality=pl.DataFrame({"method": ["demographic_text"], "metric": ["frechet"], "value": [1.0]}),
    )
    passed = images.filter(pl.col("passed_quality"))
    real = train.select("study_id", "patient_id", origin=pl.lit("real"), weight=1.0)
    synthetic = passed.select("image_id", "stratum", origin=pl.lit("synthetic"), weight=1.0)
    for arm, rows in (("real.r000", real), (ARM, pl.concat([real, synthetic], how="diagonal"))):
        write_arm(writer, arm, rows, studies)
    put(
        "report",
        files={"reports/index.html": b"<html>"},
        parents={f"fairness_scorecard~{arm}": "summarised_from" for arm in ("real.r000", ARM)},
        fairness_contrasts=pl.DataFrame(
            {
                "arm_a": [ARM],
                "arm_b": ["real.r000"],
                "metric": ["tpr"],
                "quantity": ["max_min"],
                "delta": [-0.1],
                "p": [0.01],
                "p_adj": [0.02],
            }
        ),
    )
    return writer


def write_arm(writer: Writer, arm: str, rows: pl.DataFrame, studies: pl.DataFrame) -> None:
    """Training set, one classifier, its predictions and the scorecard of an arm."""
    parents = {"studies~all": "mixed_from"} | (
        {} if arm.startswith("real") else {"synthetic_set~demographic_text": "mixed_from"}
    )
    training = writer.put(
        "training_set", {"arm": arm}, parents=parents, training_set_rows=rows.with_columns(arm=pl.lit(arm))
    )
    keys, weights = {"arm": arm, "learner": LEARNER}, (arm[0] * 64)
    writer.put(
        "classifier",
        keys,
        parents={f"training_set~{arm}": "trained_on"},
        files={f"classifiers/{arm}/w.safetensors": b"w"},
        thresholds=pl.DataFrame({**keys, "classifier_id": [weights], "finding": ["edema"], "threshold": [0.5]}),
        classifier_training=pl.DataFrame({**keys, "classifier_id": [weights], "training_set_id": [training.digest]}),
    )
    test = studies.filter(pl.col("split") == "test").select("study_id", "patient_id")
    writer.put(
        "predictions",
        keys,
        parents={f"classifier~{arm}~{LEARNER}": "evaluated_on", "studies~all": "evaluated_on"},
        predictions=test.with_columns(
            arm=pl.lit(arm),
            learner=pl.lit(LEARNER),
            classifier_id=pl.lit(weights),
            evaluation_set=pl.lit("test"),
            finding=pl.lit("edema"),
            score=0.7,
            truth=pl.lit(1),
        ),
    )
    common = {"arm": arm, "learner": "all", "evaluation_set": "test", "finding": "all"}
    estimates = pl.DataFrame(
        [
            common
            | {
                "attribute": a,
                "group": g,
                "metric": "tpr",
                "estimate": e,
                "eligible": ok,
                "primary": True,
                "weight_scheme": "none",
                "threshold_id": "f1",
                "n_pos": 60,
                "n_patients": 50,
            }
            for a, g, e, ok in (
                ("sex", "female", 0.6, True),
                ("sex", "male", 0.8, True),
                ("race×sex", "black×female", 0.5, True),
                ("race×sex", "white×male", 0.1, False),
                ("all", "all", 0.7, True),
            )
        ]
    )
    gaps = pl.DataFrame(
        [
            common
            | {
                "attribute": "sex",
                "metric": "tpr",
                "gap_kind": kind,
                "primary": True,
                "weight_scheme": "none",
                "observed": 0.2,
                "null_mean": 0.05,
                "excess": 0.15,
                "p_perm": 0.01,
                "worst_group": "female",
                "reported": True,
            }
            for kind in ("max_min", "group_vs_rest")
        ]
    )
    writer.put(
        "fairness_scorecard",
        {"arm": arm},
        parents={f"predictions~{arm}~{LEARNER}": "evaluated_on"},
        fairness_estimates=estimates,
        fairness_gaps=gaps,
    )
