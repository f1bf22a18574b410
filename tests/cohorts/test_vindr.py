from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cxr_assets.cohorts.base import CuratedCohort, CurateSettings
from cxr_assets.cohorts.label_maps import VINDR_FINDINGS
from cxr_assets.cohorts.registry import adapter
from cxr_assets.cohorts.vindr.boxes import merge_boxes
from cxr_assets.errors import InputError, SettingsError
from tests.cohorts.conftest import write_film

HEADER = "image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max"
_CLASSES = (
    "Aortic enlargement,Atelectasis,Calcification,Cardiomegaly,Consolidation,ILD,Infiltration,Lung Opacity,Nodule/Mass,"
    "Other lesion,Pleural effusion,Pleural thickening,Pneumothorax,Pulmonary fibrosis,No finding"
)
_LABELS = (
    "Aortic enlargement,Atelectasis,Calcification,Cardiomegaly,Clavicle fracture,Consolidation,Edema,Emphysema,Enlarged PA,"
    "ILD,Infiltration,Lung Opacity,Lung cavity,Lung cyst,Mediastinal shift,Nodule/Mass,Pleural effusion,"
    "Pleural thickening,Pneumothorax,Pulmonary fibrosis,Rib fracture,Other lesion,COPD,Lung tumor,Pneumonia,Tuberculosis,"
    "Other diseases,No finding"
)
CLASSES, LABELS = _CLASSES.split(","), _LABELS.split(",")
BOX_HEADER = "image_id,rad_id,class_name,x_min,y_min,x_max,y_max"
A, B, C = ("a" * 32, "b" * 32, "c" * 32)
BOX = (100.0, 100.0, 200.0, 200.0)
Make = Callable[..., Path]


def mark(
    image: str, reader: str, label: str = "No finding", box: Sequence[object] = (), number: str | None = None
) -> str:
    """One row of the challenge's table."""
    edges = box or ("" if label == "No finding" else 1.0, *(("",) * 3 if label == "No finding" else (1.0, 9.0, 9.0)))
    index = str(CLASSES.index(label)) if number is None and label in CLASSES else number or "0"
    return ",".join(map(str, [image, label, index, reader, *edges]))


def reading(image: str, *labels: str, reader: str | None = None) -> str:
    """One row of a PhysioNet label table."""
    return ",".join([image, *([reader] if reader else []), *(str(int(label in labels)) for label in LABELS)])


@pytest.fixture
def challenge(tmp_path: Path) -> Make:
    def make(rows: Sequence[str], *, header: str = HEADER, encoding: str = "utf-8") -> Path:
        (tmp_path / "train.csv").write_bytes("\n".join([header, *rows]).encode(encoding))
        return tmp_path

    return make


@pytest.fixture
def physionet(tmp_path: Path) -> Make:
    def make(
        train: Sequence[str], test: Sequence[str] = (), *, boxes: Sequence[str] = (), test_boxes: Sequence[str] = ()
    ) -> Path:
        folder = tmp_path / "annotations"
        folder.mkdir(exist_ok=True)
        names = ",".join(LABELS)
        tables = {
            "image_labels_train": [f"image_id,rad_id,{names}", *train],
            "image_labels_test": [f"image_id,{names.replace('Other diseases', 'Other disease')}", *test],
            "annotations_train": [BOX_HEADER, *boxes],
            "annotations_test": [BOX_HEADER.replace("rad_id,", ""), *test_boxes],
        }
        for name, lines in tables.items():
            if len(lines) > 1:
                (folder / f"{name}.csv").write_text("\n".join(lines))
        return tmp_path

    return make


def curate(root: Path, **options: object) -> CuratedCohort:
    return adapter("vindr").curate(root, settings=CurateSettings(tables_only=True, options=options))


def values(cohort: CuratedCohort, study: str = A) -> dict[str, int | None]:
    return cohort.finding_values.filter(study_id=study).select(VINDR_FINDINGS).row(0, named=True)


def flow(cohort: CuratedCohort, source: str = "train.csv") -> dict[str, int]:
    return dict(cohort.waterfall.filter(source=source).select("step", "rows").iter_rows())


def kinds(cohort: CuratedCohort) -> list[tuple[int, str, str]]:
    frame = cohort.quarantine.select("row", "column", pl.col("reason").str.split(":").list.first())
    return list(frame.iter_rows())


@pytest.mark.parametrize(("vote", "two", "one"), [(1, 1, 1), (2, 1, -1), (3, -1, -1)])
def test_a_finding_is_positive_by_vote_and_uncertain_below(challenge: Make, vote: int, two: int, one: int) -> None:
    rows = [mark(A, reader, "Cardiomegaly") for reader in ("R1", "R2")]
    rows += [mark(A, "R3", "Pneumothorax"), mark(A, "R1", "Cardiomegaly", BOX), mark(A, "R3", "Other lesion")]
    found = values(curate(challenge(rows), vote=vote))
    assert (found["cardiomegaly"], found["pneumothorax"], found["atelectasis"], found["no_finding"]) == (two, one, 0, 0)
    assert found["pneumonia"] is None and found["fracture"] is None and found["edema"] is None


def test_a_normal_film_and_one_with_other_lesions_only(challenge: Make) -> None:
    rows = [mark(A, f"R{n}") for n in (1, 2, 3)] + [mark(B, f"R{n}", "Aortic enlargement") for n in (1, 2, 3)]
    cohort = curate(challenge(rows))
    assert values(cohort)["no_finding"] == 1 and values(cohort, B)["no_finding"] == 0
    assert set(values(cohort, B).values()) == {0, None}
    assert cohort.boxes.is_empty() and cohort.quarantine.is_empty()
    study = cohort.studies.row(0, named=True)
    assert (study["patient_id"], study["patient_id_kind"], study["split_native"]) == (A, "image", "train")
    assert (study["label_source"], study["age_years"], study["sex"]) == ("radiologist_image", None, None)


def test_readers_who_name_one_opacity_differently_still_agree(challenge: Make) -> None:
    found = values(
        curate(challenge([mark(A, "R1", "ILD"), mark(A, "R2", "Infiltration"), mark(A, "R3", "Calcification")]))
    )
    assert (found["lung_opacity"], found["infiltration"], found["consolidation"]) == (1, -1, 0)


def test_boxes_of_several_readers_become_one_that_names_them(challenge: Make) -> None:
    rows = [
        mark(A, "R10", "Cardiomegaly", (100, 100, 200, 200)),
        mark(A, "R8", "Cardiomegaly", (110, 100, 210, 200)),
        mark(A, "R9", "Cardiomegaly", (500, 500, 600, 600)),
        mark(A, "R9", "Pneumothorax", (100, 100, 200, 200)),
    ]
    boxes = curate(challenge(rows)).boxes.select("finding", "x", "y", "width", "height", "source")
    assert boxes.sort("finding", "x").rows() == [
        ("cardiomegaly", 105.0, 100.0, 100.0, 100.0, "R8|R10"),
        ("cardiomegaly", 500.0, 500.0, 100.0, 100.0, "R9"),
        ("pneumothorax", 100.0, 100.0, 100.0, 100.0, "R9"),
    ]


@pytest.mark.parametrize(("shift", "boxes"), [(42, 1), (43, 2), (100, 2), (300, 2)])
def test_boxes_merge_above_an_overlap_of_two_fifths(shift: float, boxes: int) -> None:
    edges = {"x_min": [0.0, shift], "y_min": [0.0, 0.0], "x_max": [100.0, 100.0 + shift], "y_max": [100.0, 100.0]}
    frame = pl.DataFrame({"study_id": [A, A], "finding": ["edema"] * 2, "reader": ["R1", "R2"], **edges})
    assert merge_boxes(frame).height == boxes


BOXES = st.lists(
    st.tuples(
        st.sampled_from([A, B]),
        st.sampled_from(["edema", "fibrosis"]),
        st.sampled_from(["R1", "R2", "R11"]),
        *(st.integers(0, 60) for _ in range(2)),
        *(st.integers(1, 60) for _ in range(2)),
    ),
    max_size=12,
)


@given(BOXES, st.randoms(use_true_random=False))
def test_merging_keeps_readers_and_extents_whatever_the_order(boxes: list[tuple], rng) -> None:
    names = ["study_id", "finding", "reader", "x_min", "y_min", "x_max", "y_max"]
    rows = [(*head, x, y, x + w, y + h) for *head, x, y, w, h in boxes]
    schema = {name: pl.String if name in names[:3] else pl.Float64 for name in names}
    merged = merge_boxes(pl.DataFrame(rows, schema=schema, orient="row"))
    shuffled = rng.sample(rows, len(rows))
    assert merged.equals(merge_boxes(pl.DataFrame(shuffled, schema=schema, orient="row")))
    assert merged.height <= len(set(rows))
    for study, finding in {row[:2] for row in rows}:
        mine = [row for row in rows if row[:2] == (study, finding)]
        part = merged.filter(study_id=study, finding=finding)
        assert {name for text in part["source"] for name in text.split("|")} == {row[2] for row in mine}
        assert part["x"].min() >= min(row[3] for row in mine) - 1e-9
        assert (part["x"] + part["width"]).max() <= max(row[5] for row in mine) + 1e-9


@pytest.mark.parametrize(
    ("row", "column", "kind"),
    [
        (mark("../" + "a" * 29, "R1"), "image_id", "malformed image"),
        (mark("", "R1"), "image_id", "malformed image"),
        (mark(B, "R1|R2"), "rad_id", "malformed reader"),
        (mark(B, ""), "rad_id", "malformed reader"),
        (mark(B, "R1", "Gout"), "class_name", "unknown label"),
        (mark(B, "R1", "Cardiomegaly", number="4"), "class_id", "class mismatch"),
        (mark(B, "R1", "Cardiomegaly", ("", "", "", "")), "x_min", "malformed box"),
        (mark(B, "R1", "Cardiomegaly", (1, 1, "inf", 9)), "x_max", "malformed box"),
        (mark(B, "R1", "Cardiomegaly", (9, 1, 9, 9)), "x_max", "empty box"),
        (mark(B, "R1", "Cardiomegaly", (-9, 1, 9, 9)), "x_min", "box outside"),
        (mark(A, "R1"), "class_name", "label contradiction"),
        ("one,two", None, "malformed row"),
    ],
)
def test_a_bad_row_is_quarantined_and_the_others_stay(challenge: Make, row: str, column: str | None, kind: str) -> None:
    cohort = curate(challenge([mark(A, "R1", "ILD"), row, mark(A, "R2", "ILD")]))
    assert cohort.studies["study_id"].to_list() == [A] and values(cohort)["lung_opacity"] == 1
    assert kinds(cohort) == [(3, column, kind)]
    assert flow(cohort) == {"read": 3, f"dropped: {kind}": 1, "kept": 2}


def test_a_film_with_fewer_readers_than_votes_is_noted(challenge: Make) -> None:
    cohort = curate(challenge([mark(A, "R1", "ILD")]))
    assert kinds(cohort) == [(2, "image_id", "fewer readers than votes")] and values(cohort)["lung_opacity"] == -1
    assert curate(challenge([mark(A, "R1", "ILD")]), vote=1).quarantine.is_empty()


def test_a_box_without_finding_is_noted_and_not_used(challenge: Make) -> None:
    cohort = curate(challenge([mark(A, f"R{n}", "No finding", (0, 0, 1, 1)) for n in (1, 2, 3)]))
    assert [kind for *_, kind in kinds(cohort)] == ["box without finding"] * 3
    assert cohort.boxes.is_empty() and values(cohort)["no_finding"] == 1


def test_physionet_reads_three_readers_in_train_and_their_consensus_in_test(physionet: Make) -> None:
    train = [reading(A, "ILD", "Rib fracture", reader="R1"), reading(A, "Lung Opacity", reader="R2")]
    train += [reading(A, "Edema", reader="R3"), *(reading(B, "No finding", reader=f"R{n}") for n in (1, 2, 3))]
    boxes = [f"{A},R1,ILD,1,1,50,50", f"{A},R2,Lung Opacity,1,1,50,50", f"{B},R2,No finding,,,,"]
    boxes += [f"{A},R3,Edema,1,1,9,9", f"{A},R3,Lung cyst,1,1,9,9"]
    test = [reading(C, "Pneumonia", "Other diseases")]
    cohort = curate(physionet(train, test, boxes=boxes, test_boxes=[f"{C},Consolidation,1,1,9,9"]))
    found = values(cohort)
    assert (found["lung_opacity"], found["fracture"], found["edema"], found["pneumonia"]) == (1, -1, -1, 0)
    assert values(cohort, B)["no_finding"] == 1 and values(cohort, C)["pneumonia"] == 1
    assert None not in found.values()
    assert cohort.boxes.select("study_id", "finding", "source").rows() == [
        (A, "edema", "R3"),
        (A, "lung_opacity", "R1|R2"),
        (C, "consolidation", "consensus"),
    ]
    assert dict(cohort.studies.select("study_id", "split_native").iter_rows()) == {A: "train", B: "train", C: "test"}
    assert cohort.studies.filter(split_native="test")["split"].to_list() == ["test"]
    assert set(cohort.studies.filter(split_native="train")["split"]) <= {"train", "validate"}
    assert flow(cohort, "annotations/annotations_train.csv") == {
        "read": 5,
        "dropped: no finding, no box": 1,
        "dropped: label outside the vocabulary": 1,
        "kept": 3,
    }
    assert [kind for *_, kind in kinds(cohort)] == ["box without label"]


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        (reading(A, reader="R1"), "duplicate reading"),
        (reading(C, reader="R1"), "in both tables"),
        (reading(B, "No finding", "COPD", reader="R1"), "label contradiction"),
        (reading(B, reader="R1").replace(",0,", ",yes,", 1), "malformed label"),
        (reading("B" * 32, reader="R1"), "malformed image"),
    ],
)
def test_a_bad_reading_is_quarantined(physionet: Make, row: str, kind: str) -> None:
    cohort = curate(physionet([reading(A, "ILD", reader="R1"), row], [reading(C, "No finding")]))
    assert cohort.studies["study_id"].to_list() == [A, C]
    assert flow(cohort, "annotations/image_labels_train.csv") == {"read": 2, f"dropped: {kind}": 1, "kept": 1}
    assert cohort.studies.filter(study_id=C)["split"].to_list() == ["test"]


def test_boxes_of_unknown_films_and_labels_are_quarantined(physionet: Make) -> None:
    boxes = [f"{B},R1,ILD,1,1,5,5", f"{A},R1,Gout,1,1,5,5", f"{A},R1,ILD,1,1,1,5", f"{A},R1,ILD,1,1,5,x"]
    cohort = curate(physionet([reading(A, "ILD", reader="R1")], boxes=boxes), vote=1)
    assert [kind for *_, kind in kinds(cohort)] == ["no such study", "unknown label", "empty box", "malformed box"]
    assert cohort.boxes.is_empty()


def test_films_of_every_published_kind_are_found(challenge: Make, tmp_path: Path) -> None:
    root = challenge([mark(image, f"R{n}") for image in (A, B, C) for n in (1, 2, 3)])
    write_film(root / "train" / f"{A}.png")
    (root / "train" / f"{A}.dicom").touch()
    write_film(root / "images" / f"{B}.png")
    cohort = adapter("vindr").curate(root, settings=CurateSettings())
    assert cohort.studies["source_path"].to_list() == [f"train/{A}.dicom", f"images/{B}.png", None]
    assert kinds(cohort) == [(8, "image_id", "missing film")]


def test_missing_tables_columns_and_wrong_options_are_stated(challenge: Make, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"neither annotations/image_labels_train.csv nor train.csv"):
        curate(tmp_path)
    with pytest.raises(InputError, match=r"no column 'rad_id'. Seen: image_id, class_name"):
        curate(challenge([mark(A, "R1")], header=HEADER.replace("rad_id", "reader")))
    with pytest.raises(InputError, match="no rows"):
        curate(challenge([]))
    with pytest.raises(SettingsError, match="vote: Input should be less than or equal to 3"):
        curate(challenge([mark(A, "R1")]), vote=4)


FIELD = st.text(
    st.characters(blacklist_characters="\r\n", blacklist_categories=("Cs",)), max_size=10
) | st.sampled_from([A, B, "R1", "R2", "ILD", "No finding", "5", "14", "-3", "9.5", "nan", "inf", "../x", "1e400"])
LINE = st.one_of(
    st.lists(FIELD, min_size=8, max_size=8).map(",".join),
    st.lists(FIELD, max_size=10).map(",".join),
    st.lists(FIELD, max_size=10).map("|".join),
    st.builds(mark, st.sampled_from([A, B]), st.sampled_from(["R1", "R2"]), st.sampled_from([*CLASSES, "Gout"])),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(LINE, max_size=8), st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
def test_rows_read_are_used_or_quarantined_whatever_they_hold(challenge: Make, lines: list[str], encoding: str) -> None:
    cohort = curate(challenge([mark(A, "R1", "Zebra"), *lines], encoding=encoding))
    steps = flow(cohort)
    dropped = sum(count for step, count in steps.items() if step.startswith("dropped"))
    assert steps["kept"] + dropped == steps["read"] == 1 + sum(bool(line.strip()) for line in lines)
    assert cohort.study_sources.filter(role="label").height == steps["kept"]
    assert cohort.studies.height == cohort.finding_values.height <= steps["kept"]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(FIELD, max_size=30).map(",".join), max_size=3), st.binary(max_size=60))
def test_any_physionet_rows_are_survived(physionet: Make, lines: list[str], tail: bytes) -> None:
    root = physionet([reading(A, "ILD", reader="R1"), *lines], [reading(C), *lines], boxes=["x", *lines])
    with (root / "annotations" / "annotations_train.csv").open("ab") as stream:
        stream.write(tail)
    cohort = curate(root)
    for source in cohort.waterfall["source"].unique():
        steps = flow(cohort, source)
        assert steps["read"] == steps["kept"] + sum(n for step, n in steps.items() if step.startswith("dropped"))
    assert {A, C} <= set(cohort.studies["study_id"])


def test_the_real_table_has_its_known_counts(wheel_table: Callable[..., Path]) -> None:
    root = wheel_table("vinbigdata-train.csv.gz")
    cohort = curate(root)
    expected = cohort.spec.expected[0]
    assert flow(cohort, "vinbigdata-train.csv.gz") == {"read": expected.when_rows, "kept": expected.when_rows}
    assert (cohort.studies.height, cohort.patients.height) == (expected.studies, expected.patients)
    for value, counts in ((1, expected.positive), (0, expected.negative), (-1, expected.uncertain)):
        assert {finding: (cohort.finding_values[finding] == value).sum() for finding in counts} == counts
    assert cohort.quarantine.is_empty()
    assert cohort.boxes.height == 16_774 and cohort.boxes.filter(source="R8|R9|R10").height == 2_896
    assert (cohort.finding_values["no_finding"] == 0).sum() == 4_394
    assert dict(cohort.studies["split_native"].value_counts().iter_rows()) == {"train": 15_000}
    whole, any_of = curate(root, vote=3).finding_values, curate(root, vote=1).finding_values
    for finding, three, some in (("cardiomegaly", 1297, 2300), ("pneumothorax", 45, 96), ("lung_lesion", 181, 826)):
        assert ((whole[finding] == 1).sum(), (any_of[finding] == 1).sum()) == (three, some)
