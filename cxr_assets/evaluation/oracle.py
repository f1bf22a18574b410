"""A classifier that was told the truth: it says whether a phantom film shows what was asked for.

The phantom's generator of truth is known, so the oracle learns from unlimited films with noiseless labels, equal shares
of every group and no planted disparity. It judges synthetic phantom films; it is no model of patients.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cxr_assets.classification.backbones import SmallCnn
from cxr_assets.diffusion.device import autocast
from cxr_assets.errors import InputError
from cxr_assets.progress import Progress
from cxr_assets.training import TrainLoop

ORACLE = Path(__file__).parent / "phantom_oracle"
WIDTHS = (16, 32, 64, 128, 160)


@dataclass(frozen=True)
class Judgement:
    """What the oracle sees in ``n`` films.

    ``findings`` float32 ``(n, findings)`` and ``female`` float32 ``(n,)`` are probabilities; ``age`` float32
    ``(n, bins)`` sums to 1 over the bins.
    """

    names: tuple[str, ...]
    findings: np.ndarray
    female: np.ndarray
    age: np.ndarray


@dataclass
class Oracle:
    """The network with the names of its outputs."""

    network: nn.Module
    findings: tuple[str, ...]
    ages: tuple[str, ...]
    size: int

    @classmethod
    def load(cls, folder: Path = ORACLE) -> Oracle:
        """The shipped oracle, or another saved by :meth:`save`."""
        try:
            facts = json.loads((folder / "config.json").read_text())
            weights = load_file(folder / "oracle.safetensors")
        except OSError as error:
            raise InputError(f"no oracle under {folder}: {error}. 'cxr pretrain-phantom' trains one.") from error
        oracle = cls.untrained(tuple(facts["findings"]), tuple(facts["ages"]), facts["size"])
        oracle.network.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in weights.items()})
        oracle.network.eval()
        return oracle

    @classmethod
    def untrained(cls, findings: tuple[str, ...], ages: tuple[str, ...], size: int) -> Oracle:
        return cls(SmallCnn(len(findings) + 1 + len(ages), widths=WIDTHS, dropout=0.1), findings, ages, size)

    def save(self, folder: Path) -> None:
        """Write fp16 safetensors and the names of the outputs."""
        folder.mkdir(parents=True, exist_ok=True)
        weights = {k: v.half() if v.is_floating_point() else v for k, v in self.network.state_dict().items()}
        save_file({k: v.contiguous() for k, v in weights.items()}, folder / "oracle.safetensors")
        facts = {
            "findings": self.findings,
            "ages": self.ages,
            "size": self.size,
            "outputs": "findings, female, age bins",
        }
        (folder / "config.json").write_text(json.dumps(facts, indent=1) + "\n")

    @torch.no_grad()
    def judge(self, films: np.ndarray, *, batch: int = 256) -> Judgement:
        """Look at films, uint8, shape ``(n, h, w)``; other sizes than the oracle's are resized."""
        self.network.eval()
        parts = [self.network(_films(films[i : i + batch], self.size)) for i in range(0, len(films), batch)]
        logits = torch.cat(parts) if parts else torch.zeros(0, len(self.findings) + 1 + len(self.ages))
        n = len(self.findings)
        return Judgement(
            self.findings,
            logits[:, :n].sigmoid().numpy(),
            logits[:, n].sigmoid().numpy(),
            logits[:, n + 1 :].softmax(dim=1).numpy(),
        )


def _films(films: np.ndarray, size: int) -> Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(films))[:, None].float().div_(127.5).sub_(1.0)
    if tensor.shape[-1] != size:
        tensor = nn.functional.interpolate(tensor, size=(size, size), mode="bilinear", antialias=True)
    return tensor


def train_oracle(
    films: np.ndarray,
    labels: np.ndarray,
    female: np.ndarray,
    age: np.ndarray,
    *,
    findings: tuple[str, ...],
    ages: tuple[str, ...],
    steps: int,
    folder: Path | None = None,
    identity: str = "",
    batch: int = 64,
    seed: int = 0,
    progress: Progress | None = None,
) -> Oracle:
    """Train an oracle.

    Args:
        films: uint8, shape ``(n, size, size)``.
        labels: 0/1, shape ``(n, findings)``; ``female`` 0/1, shape ``(n,)``; ``age`` bin index, shape ``(n,)``.
    """
    torch.manual_seed(seed)
    oracle = Oracle.untrained(findings, ages, films.shape[-1])
    truth = torch.from_numpy(np.concatenate([labels, female[:, None]], axis=1).astype(np.float32))
    bins = torch.from_numpy(age.astype(np.int64))
    network = oracle.network.to(memory_format=torch.channels_last).train()
    loop = TrainLoop(
        "oracle",
        {"oracle": network},
        rows=len(films),
        steps=steps,
        batch=batch,
        learning_rate=2e-3,
        seed=seed,
        weight_decay=1e-3,
        warmup=100,
        schedule="cosine",
        folder=folder,
        identity=identity,
        progress=progress or Progress(),
    )

    def loss(rows: np.ndarray, generator: torch.Generator) -> Tensor:
        tensor = _films(films[rows], oracle.size)
        # Shift and gain: what the oracle knows must not hang on the exact place or exposure of a film.
        shift = torch.randint(-4, 5, (2,), generator=generator).tolist()
        gain = 1 + 0.1 * torch.randn((len(rows), 1, 1, 1), generator=generator)
        tensor = (
            (torch.roll(tensor, shift, dims=(2, 3)) * gain).clamp(-1, 1).contiguous(memory_format=torch.channels_last)
        )
        with autocast(torch.device("cpu"), "bf16"):
            logits = network(tensor).float()
        n = labels.shape[1] + 1
        return nn.functional.binary_cross_entropy_with_logits(
            logits[:, :n], truth[rows]
        ) + 0.1 * nn.functional.cross_entropy(logits[:, n:], bins[rows])

    loop.run(loss)
    network.eval()
    return oracle


def recoverability(judgement: Judgement, asked: pl.DataFrame, ages: tuple[str, ...]) -> pl.DataFrame:
    """How well what was asked for can be read off the films.

    Args:
        asked: one row a film: a 0/1 column for each finding, ``sex`` and ``age_bin``.

    Returns:
        Rows ``quantity, metric, value, n, n_positive``: AUROC per finding (null where only one class was asked for),
        accuracy of sex, exact and within-one-bin agreement of age.
    """
    from sklearn.metrics import roc_auc_score

    rows: list[dict[str, object]] = []
    for column, finding in enumerate(judgement.names):
        if finding not in asked.columns:
            continue
        truth = asked[finding].to_numpy()
        both = 0 < truth.sum() < len(truth)
        value = float(roc_auc_score(truth, judgement.findings[:, column])) if both else None
        rows.append(
            {"quantity": finding, "metric": "auroc", "value": value, "n": len(truth), "n_positive": int(truth.sum())}
        )
    female = (asked["sex"] == "female").to_numpy()
    rows.append(
        {
            "quantity": "sex",
            "metric": "accuracy",
            "value": float(((judgement.female > 0.5) == female).mean()),
            "n": len(female),
            "n_positive": int(female.sum()),
        }
    )
    wanted = np.array([ages.index(a) for a in asked["age_bin"]])
    seen = judgement.age.argmax(axis=1)
    for metric, allowed in (("exact_agreement", 0), ("within_one_bin", 1)):
        rows.append(
            {
                "quantity": "age_bin",
                "metric": metric,
                "value": float((np.abs(seen - wanted) <= allowed).mean()),
                "n": len(wanted),
                "n_positive": None,
            }
        )
    schema = {"quantity": pl.String, "metric": pl.String, "value": pl.Float64, "n": pl.Int64, "n_positive": pl.Int64}
    return pl.DataFrame(rows, schema=schema)
