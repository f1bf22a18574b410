"""How fast cohorts become tables.

    python bench/curate_tables.py               everything whose files are at hand
    python bench/curate_tables.py nih mimic     some of it

ChestX-ray14, CheXpert, PadChest, VinBigData and RSNA are read where they lie, in the installed torchxrayvision package.
For ChestX-ray14 its own data set class is built alternately in the same process, and the ratio printed. MIMIC is made up at its
true row counts first (bench/generate/mimic.py). Every cohort is curated to Parquet and views, each time into a new data root;
the second figure is a run that finds nothing changed.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

TABLES = {
    "nih": ("Data_Entry_2017_v2020.csv.gz", "BBox_List_2017.csv.gz"),
    "chexpert": ("chexpert_train.csv.gz",),
    "padchest": ("PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv.gz",),
    "rsna": ("kaggle_stage_2_train_labels.csv.zip", "kaggle_stage_2_train_images_dicom_headers.csv.gz"),
}
RENAMED = {"kaggle_stage_2_train_labels.csv.zip": "stage_2_train_labels.csv.zip"}
LIMITS = {"chexpert": 4.0, "padchest": 4.0, "mimic": 6.0}
ROUNDS = 5


def package_data() -> Path:
    """Folder of the tables in the torchxrayvision package."""
    spec = importlib.util.find_spec("torchxrayvision")
    if spec is None or spec.origin is None:
        sys.exit("torchxrayvision is not installed: make install")
    return Path(spec.origin).parent / "data"


def curate_once(cohort: str, root: Path, storage: Path) -> float:
    """Seconds that a curation takes, views included."""
    from cxr_assets.cohorts.curation import curate_studies
    from cxr_assets.project import Project
    from cxr_assets.warehouse.connect import publish

    begun = time.perf_counter()
    overrides = {"cohort_root": str(root), "curate.tables_only": True}
    made = curate_studies(Project.open(cohort=cohort, storage=storage, overrides=overrides))
    if made.fresh:
        publish(storage)
    return time.perf_counter() - begun


def in_a_process(cohort: str, root: Path) -> dict[str, float]:
    """First and second curation in a process of their own, with its peak memory."""
    arguments = [sys.executable, __file__, "--child", cohort, "--root", str(root)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def peak_mib() -> float:
    """Most memory that this process had, in MiB. (getrusage would count what its parent had when it was started.)"""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def child(cohort: str, root: Path) -> None:
    """Print what ``in_a_process`` reads."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        first, second = (curate_once(cohort, root, Path(folder)) for _ in range(2))
    peak = peak_mib()
    print(json.dumps({"first": first, "second": second, "peak_mib": peak}))


def against_the_peer(root: Path) -> None:
    """Ours and torchxrayvision's class on the same ChestX-ray14 table, by turns."""
    import torchxrayvision as xrv

    ours, theirs, all_rows = [], [], []
    for _ in range(ROUNDS):
        with (
            tempfile.TemporaryDirectory() as folder,
            contextlib.redirect_stderr(io.StringIO()),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            ours.append(curate_once("nih", root, Path(folder)))
            for times, options in ((theirs, {}), (all_rows, {"views": ["PA", "AP"], "unique_patients": False})):
                begun = time.perf_counter()
                xrv.datasets.NIH_Dataset(imgpath=folder, **options)
                times.append(time.perf_counter() - begun)
    mine = statistics.median(ours)
    for name, times in (("as it comes (28,868 of 112,120 rows)", theirs), ("all rows", all_rows)):
        other = statistics.median(times)
        print(f"nih       ours {mine:.2f} s, torchxrayvision {name} {other:.2f} s: {other / mine:.2f} times as fast")


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohorts", nargs="*", help=f"{', '.join(TABLES)}, mimic; default all")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(given.child, given.root)
        return
    wanted = given.cohorts or [*TABLES, "mimic"]
    data = package_data()
    for cohort in wanted:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            if cohort == "mimic":
                sys.path.insert(0, str(Path(__file__).parent / "generate"))
                from mimic import generate

                generate(root)
            for name in TABLES.get(cohort, ()):
                (root / RENAMED.get(name, name)).symlink_to(data / name)
            found = in_a_process(cohort, root)
            limit = (
                f" (limit {LIMITS[cohort]:g} s: {found['first'] / LIMITS[cohort]:.2f} of it)"
                if cohort in LIMITS
                else ""
            )
            print(
                f"{cohort:9} {found['first']:.2f} s{limit}, again {found['second']:.3f} s, peak {found['peak_mib']:.0f} MiB",
                flush=True,
            )
            if cohort == "nih":
                against_the_peer(root)


if __name__ == "__main__":
    main()
