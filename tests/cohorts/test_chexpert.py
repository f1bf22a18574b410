from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cxr_assets.cohorts.base import CuratedCohort, CurateSettings
from cxr_assets.cohorts.choices import Choices, apply_choices
from cxr_assets.cohorts.labels import CANONICAL, DISPLAY_NAMES
from cxr_assets.cohorts.registry import adapter
from cxr_assets.cohorts.splits import shared_patients
from cxr_assets.errors import InputError, SettingsError

HEADER = "Path,Sex,Age,Frontal/Lateral,AP/PA," + ",".join(DISPLAY_NAMES[finding] for finding in CANONICAL)
DEMO = "PATIENT,GENDER,AGE_AT_CXR,PRIMARY_RACE,ETHNICITY"
Make = Callable[..., Path]


def line(
    path: str = "CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg",
    *,
    sex: str = "Female",
    age: str = "68",
    plane: str = "Frontal",
    view: str = "AP",
    **labels: str,
) -> str:
    """One row of a label table; findings that are not named are blank."""
    return ",".join([path, sex, age, plane, view, *(labels.get(finding, "") for finding in CANONICAL)])


@pytest.fixture
def chexpert(tmp_path: Path) -> Make:
    def make(
        train: Sequence[str], *, valid: Sequence[str] = (), demo: Sequence[str] = (), encoding: str = "utf-8"
    ) -> Path:
        for name, header, rows in (
            ("train.csv", HEADER, train),
            ("valid.csv", HEADER, valid),
            ("CHEXPERT DEMO.csv", DEMO, demo),
        ):
            (tmp_path / name).unlink(missing_ok=True)
            if rows or name == "train.csv":
                (tmp_path / name).write_text("\n".join([header, *rows]) + "\n", encoding=encoding, newline="")
        return tmp_path

    return make


def curate(root: Path, **changes: object) -> CuratedCohort:
    return adapter("chexpert").curate(root, settings=CurateSettings(tables_only=True, **changes))


def kinds(cohort: CuratedCohort) -> list[str]:
    return cohort.quarantine["reason"].str.split(":").list.first().to_list()


def test_ids_come_from_the_tail_of_the_path_whatever_stands_before_it(chexpert: Make) -> None:
    root = chexpert(
        [
            line(),
            line("CheXpert-v1.0/train/patient00002/study1/view1_frontal.jpg"),
            line("CheXpert-v1.0 batch 2 (train 1)/patient00003/study2/view2_lateral.jpg", plane="Lateral", view=""),
        ]
    )
    studies = curate(root).studies
    assert studies.select("study_id", "patient_id", "exam_id", "study_number", "view").rows() == [
        ("patient00001_study1_view1_frontal", "patient00001", "patient00001_study1", 1, "AP"),
        ("patient00002_study1_view1_frontal", "patient00002", "patient00002_study1", 1, "AP"),
        ("patient00003_study2_view2_lateral", "patient00003", "patient00003_study2", 2, "LATERAL"),
    ]


def test_the_four_label_values_stay_apart(chexpert: Make) -> None:
    cohort = curate(chexpert([line(edema="1.0", pneumonia="-1.0", fracture="0.0", atelectasis="-1")]))
    row = cohort.finding_values.row(0, named=True)
    assert (row["edema"], row["pneumonia"], row["fracture"], row["atelectasis"], row["hernia"]) == (1, -1, 0, -1, None)
    assert row["pneumothorax"] is None, "blank is not zero"


def test_no_finding_overwrites_nothing(chexpert: Make) -> None:
    cohort = curate(chexpert([line(no_finding="1.0", support_devices="1.0", edema="-1.0")]))
    row = cohort.finding_values.row(0, named=True)
    assert (row["no_finding"], row["support_devices"], row["edema"]) == (1, 1, -1)
    assert kinds(cohort) == ["label contradiction"]


def test_studies_of_a_patient_are_never_mixed(chexpert: Make) -> None:
    root = chexpert(
        [
            line("x/patient00001/study1/view1_frontal.jpg", no_finding="1.0"),
            line("x/patient00001/study2/view1_frontal.jpg", edema="1.0"),
        ]
    )
    values = curate(root).finding_values.sort("study_id")
    assert values.select("no_finding", "edema").rows() == [(1, None), (None, 1)]


def test_age_0_is_missing_and_90_is_a_ceiling(chexpert: Make) -> None:
    root = chexpert([line(age="0"), line("x/patient00002/study1/view1_frontal.jpg", age="90")])
    cohort = curate(root)
    assert cohort.studies.select("age_raw", "age_years", "age_flags").rows() == [
        ("0", None, "zero"),
        ("90", 90.0, "topcoded"),
    ]
    assert kinds(cohort) == ["age 0"]


def test_left_lateral_films_called_frontal_are_filed_as_lateral(chexpert: Make) -> None:
    cohort = curate(chexpert([line(view="LL")]))
    assert cohort.studies.select("view", "view_raw").rows() == [("LATERAL", "Frontal LL")]
    assert kinds(cohort) == ["lateral called frontal"]


def test_race_is_joined_by_patient_and_ethnicity_counts(chexpert: Make) -> None:
    root = chexpert(
        [line("x/patient00001/study1/view1_frontal.jpg"), line("x/patient00002/study1/view1_frontal.jpg", age="41")],
        demo=["patient00002,Female,39,Other,Hispanic/Latino", "patient99999,Male,50,White,Unknown"],
    )
    cohort = curate(root)
    assert cohort.studies.select("patient_id", "race5", "race_only", "ethnicity", "race_raw", "age_years").rows() == [
        ("patient00001", None, None, None, None, 68.0),
        ("patient00002", "hispanic", "other", "hispanic", "Other", 41.0),
    ]
    assert kinds(cohort) == ["patient without demographics"]
    steps = cohort.waterfall.filter(pl.col("source") == "CHEXPERT DEMO.csv")
    assert dict(steps.select("step", "rows").iter_rows()) == {
        "read": 2,
        "dropped: patient not in the label tables": 1,
        "kept": 1,
    }


def test_the_workbook_reads_like_its_csv_copy(chexpert: Make) -> None:
    rows = ["patient00001,Female,68,Black or African American,Non-Hispanic/Non-Latino"]
    root = chexpert([line()], demo=rows)
    from_csv = curate(root).studies
    (root / "CHEXPERT DEMO.csv").unlink()
    frame = pl.DataFrame([rows[0].split(",")], schema=DEMO.split(","), orient="row")
    frame.write_excel(root / "CHEXPERT DEMO.xlsx")
    from_workbook = curate(root).studies
    assert from_workbook.drop("report_source").equals(from_csv.drop("report_source"))
    assert from_workbook["race5"].to_list() == ["black"]


def test_a_race_text_that_no_table_knows_is_named_and_null(chexpert: Make) -> None:
    cohort = curate(chexpert([line()], demo=["patient00001,Female,68,Martian,Unknown"]))
    assert cohort.studies["race5"].to_list() == [None] and cohort.studies["race_raw"].to_list() == ["Martian"]
    assert kinds(cohort) == ["unknown race text"]


def test_published_validation_patients_are_held_out(chexpert: Make) -> None:
    train = [line(f"x/patient{n:05d}/study1/view1_frontal.jpg") for n in range(1, 41)]
    valid = [line("CheXpert-v1.0/valid/patient64541/study1/view1_frontal.jpg", edema="0.0")]
    cohort = curate(chexpert(train, valid=valid))
    held = cohort.studies.filter(split_native="valid")
    assert held.select("split", "label_source").rows() == [("test", "radiologist_image")]
    assert set(cohort.studies.filter(split_native="train")["split"]) == {"train", "validate", "test"}
    official = curate(chexpert(train, valid=valid), options={"split": "official"})
    assert set(official.studies.filter(split_native="train")["split"]) == {"train", "validate"}


def test_an_option_that_does_not_exist_is_refused_with_the_nearest(chexpert: Make) -> None:
    with pytest.raises(SettingsError, match=r"splits: .* Did you mean split"):
        curate(chexpert([line()]), options={"splits": "official"})


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        (line("../../patient00001/study1/view1_frontal.jpg"), "unsafe path"),
        (line("train/patient1/study1/view1_frontal.jpg"), "malformed path"),
        (line("x/patient00009/study1/view1_frontal.jpg", edema="2.0"), "unknown label value"),
        (line(), "duplicate film"),
        ("a,b", "malformed row"),
    ],
)
def test_bad_rows_go_to_the_quarantine(chexpert: Make, row: str, kind: str) -> None:
    cohort = curate(chexpert([line(), row]))
    assert kinds(cohort) == [kind] and cohort.studies.height == 1
    steps = dict(cohort.waterfall.select("step", "rows").iter_rows())
    assert steps == {"read": 2, f"dropped: {kind}": 1, "kept": 1}


def test_a_film_of_two_tables_is_kept_once(chexpert: Make) -> None:
    cohort = curate(chexpert([line()], valid=[line()]))
    assert cohort.studies.height == 1 and kinds(cohort) == ["duplicate film"]
    kept = cohort.waterfall.filter(step="kept")
    assert dict(kept.select("source", "rows").iter_rows()) == {"train.csv": 1, "valid.csv": 0}


def test_a_missing_table_or_column_is_stated(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no train.csv, valid.csv or test_labels.csv"):
        curate(tmp_path)
    (tmp_path / "train.csv").write_text(HEADER.replace("Edema,", "") + "\n" + line() + "\n")
    with pytest.raises(InputError, match="no column 'Edema'"):
        curate(tmp_path)


FIELD = st.text(
    alphabet=st.one_of(st.characters(exclude_categories=("Cs",)), st.sampled_from('",;\t\r\n\x00')), max_size=10
)
LINE = st.one_of(
    st.builds(line, sex=FIELD, age=FIELD, plane=FIELD, view=FIELD, edema=FIELD),
    st.builds(
        line, st.sampled_from(["../x", "/etc/passwd", "x/patient00002/study1/view1_frontal.jpg", "\x00"]), age=FIELD
    ),
    st.lists(FIELD, max_size=22).map(",".join),
    FIELD,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(LINE, max_size=5),
    st.lists(FIELD.map(lambda text: f"patient00001,{text}"), max_size=2),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_rows_read_are_curated_or_quarantined_whatever_they_hold(
    chexpert: Make, lines: list[str], people: list[str], encoding: str
) -> None:
    rows = [line("x/patient00042/study1/view1_frontal.jpg"), *lines]
    cohort = curate(chexpert(rows, demo=people, encoding=encoding))
    for source, read in cohort.waterfall.filter(step="read").select("source", "rows").iter_rows():
        rest = cohort.waterfall.filter((pl.col("source") == source) & (pl.col("step") != "read"))["rows"].sum()
        assert rest == read
    kept = cohort.waterfall.filter((pl.col("source") == "train.csv") & (pl.col("step") == "kept"))["rows"].item()
    assert cohort.studies.height == kept >= 1
    assert shared_patients(cohort.studies).is_empty()


def test_the_real_train_table_has_its_known_counts(tmp_path: Path) -> None:
    spec = importlib.util.find_spec("torchxrayvision")
    assert spec is not None and spec.origin is not None
    table = Path(spec.origin).parent / "data" / "chexpert_train.csv.gz"
    (tmp_path / table.name).symlink_to(table)
    cohort = curate(tmp_path)
    (expected,) = adapter("chexpert").spec.expected
    values = cohort.finding_values
    assert (cohort.studies.height, cohort.patients.height) == (expected.studies, expected.patients)
    assert dict(cohort.studies["sex"].drop_nulls().value_counts().iter_rows()) == expected.sex
    assert dict(cohort.studies["view"].value_counts().iter_rows()) == expected.view
    for number, counts in ((1, expected.positive), (0, expected.negative), (-1, expected.uncertain)):
        found = {name: (values[name] == number).sum() for name in CANONICAL}
        assert {name: n for name, n in found.items() if n} == counts
    bins = apply_choices(cohort.studies, Choices(age_scheme="nm2021"))["age_bin"].value_counts()
    # The three ages of 0 are missing ages: published shares count them in the first bin.
    assert dict(bins.iter_rows()) == {
        "00-19": 1936 - 3,
        "20-39": 29444,
        "40-59": 69274,
        "60-79": 86994,
        "80-up": 35766,
        None: 3,
    }
    assert (cohort.studies["age_flags"] == "topcoded").sum() == 7579
    assert kinds(cohort).count("lateral called frontal") == 17
    assert "label contradiction" not in kinds(cohort)
