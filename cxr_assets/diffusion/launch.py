"""Training in several processes: ``accelerate launch`` starts them, this module is what each of them runs.

``python -m cxr_assets.diffusion.launch job.json`` is not for people: ``train_adapter`` writes the job and starts it.
"""

from __future__ import annotations

import collections
import ctypes
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from cxr_assets.diffusion.config import MethodPreset
from cxr_assets.diffusion.training_run import teach
from cxr_assets.errors import CxrError, InputError, SettingsError
from cxr_assets.processes import join_processes
from cxr_assets.progress import Progress
from cxr_assets.project import Project
from cxr_assets.resolve import Resolved
from cxr_assets.settings import Settings
from cxr_assets.warehouse import Store

SAY, FAULT = "say", "fault"
_KEPT_LINES = 30
_PARENT_DEATH_SIGNAL = 1


def teach_in_processes(project: Project, method: str, preset: MethodPreset, *, work: Path, identity: str) -> None:
    """Run one training in the processes of ``diffusion.accelerate`` and pass on what they report.

    Raises:
        SettingsError: the configuration file is missing.
        InputError: a process ended with a fault; says which.
    """
    configuration = project.settings.diffusion.accelerate
    if configuration is None or not configuration.expanduser().is_file():
        raise SettingsError(
            f"diffusion.accelerate: there is no file {configuration}. Write one with 'accelerate config --config_file"
            " FILE', or take one of docs/gpus.md."
        )
    work.mkdir(parents=True, exist_ok=True)
    job = work / "job.json"
    job.write_text(
        json.dumps(
            {
                "cohort": project.resolved.cohort,
                "root": str(project.resolved.root),
                "settings": project.settings.model_dump(mode="json"),
                "method": method,
                "preset": preset.model_dump(mode="json"),
                "work": str(work),
                "identity": identity,
            }
        )
    )
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(configuration.expanduser())]
    running = subprocess.Popen(
        [*launcher, "-m", __name__, str(job)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=_end_with_parent if sys.platform == "linux" else None,
    )
    last: collections.deque[str] = collections.deque(maxlen=_KEPT_LINES)
    fault = ""
    assert running.stdout is not None
    try:
        for line in running.stdout:
            report = _report(line)
            if SAY in report:
                project.progress.say(report[SAY])
            elif FAULT in report:
                fault = fault or report[FAULT]
            else:
                last.append(line.rstrip())
    except BaseException:
        running.terminate()
        raise
    if running.wait():
        told = fault or "its last lines were:\n" + "\n".join(last)
        raise InputError(f"training of {method!r} in processes ended with code {running.returncode}: {told}")


def _report(line: str) -> dict[str, Any]:
    """What a process says of itself; empty for any other line."""
    if not line.startswith("{"):
        return {}
    try:
        found = json.loads(line)
    except json.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _end_with_parent() -> None:
    """Ask the kernel to end this process when the one that started it dies, so that no training goes on unwatched."""
    ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGTERM)


def _tell(**report: str) -> None:
    print(json.dumps(report), flush=True)


def main(path: Path) -> int:
    """One of the processes; returns its exit code."""
    if sys.platform == "linux":
        _end_with_parent()  # the launcher between may not pass its own end on
    job = json.loads(path.read_text())
    root = Path(job["root"])
    resolved = Resolved(job["cohort"], root, Settings.model_validate(job["settings"]))
    progress = Progress(log=lambda line: _tell(**{SAY: line}))
    try:
        teach(
            Project(resolved, Store(root), progress),
            job["method"],
            MethodPreset.model_validate(job["preset"]),
            work=Path(job["work"]),
            identity=job["identity"],
            processes=join_processes(),
        )
    except CxrError as error:
        _tell(**{FAULT: str(error)})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
