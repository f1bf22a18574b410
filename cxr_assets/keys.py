"""Every partition key of the project is made and parsed here.

Dagster knows two dimensions, the field needs more, so names are composed of slugs joined by dots: a stratum is
``finding.age.sex.race``, an arm ``method.mix``, a learner ``backbone.seed``. Slugs hold lower-case letters, digits,
``_`` and ``-`` only, which makes a key safe as a folder name, a SQL literal and a Dagster key alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from cxr_assets.errors import InputError

SLUG = re.compile(r"[a-z0-9_-]+")
REAL = "real"
REAL_ONLY = "r000"
SYNTHETIC_ONLY = "only"
TARGETED_MIXES = ("r010", "r025", "r050", "r100")
EVEN_MIXES = ("e010", "e025", "e050", "e100")
MIXES = (*TARGETED_MIXES, *EVEN_MIXES, SYNTHETIC_ONLY)


def slug(text: str) -> str:
    """Return ``text`` if it is a slug, else raise InputError."""
    if not SLUG.fullmatch(text):
        raise InputError(f"{text!r} is not a slug: use lower-case letters, digits, '_' and '-' only.")
    return text


def _parts(text: str, names: Sequence[str]) -> list[str]:
    parts = text.split(".")
    if len(parts) != len(names):
        raise InputError(f"key {text!r} has {len(parts)} parts; expected {'.'.join(names)}.")
    return [slug(part) for part in parts]


@dataclass(frozen=True, order=True)
class Stratum:
    """A finding in one demographic cell: ``finding.age.sex.race``."""

    finding: str
    age: str
    sex: str
    race: str

    @classmethod
    def parse(cls, text: str) -> Stratum:
        return cls(*_parts(text, ("finding", "age", "sex", "race")))

    def __str__(self) -> str:
        return f"{self.finding}.{self.age}.{self.sex}.{self.race}"

    @property
    def cell(self) -> str:
        """The demographic cell alone, ``age.sex.race``."""
        return f"{self.age}.{self.sex}.{self.race}"


@dataclass(frozen=True, order=True)
class Arm:
    """How one training set is mixed: ``method.mix``, or ``real.r000`` for real studies alone."""

    method: str
    mix: str

    @classmethod
    def parse(cls, text: str) -> Arm:
        arm = cls(*_parts(text, ("method", "mix")))
        known = (REAL_ONLY,) if arm.method == REAL else MIXES
        if arm.mix not in known:
            raise InputError(f"arm {text!r}: mix {arm.mix!r} is none of {', '.join(known)}.")
        return arm

    def __str__(self) -> str:
        return f"{self.method}.{self.mix}"

    @property
    def is_real(self) -> bool:
        """True for the arm that holds no synthetic image."""
        return self.method == REAL

    @property
    def ratio(self) -> float:
        """Synthetic images added per real study (0 for real only; 1 for synthetic only, which replaces them)."""
        return 1.0 if self.mix == SYNTHETIC_ONLY else int(self.mix[1:]) / 100

    @property
    def targeted(self) -> bool:
        """True when synthetic images go first where the deficit is largest."""
        return self.mix in TARGETED_MIXES


@dataclass(frozen=True, order=True)
class Learner:
    """A classifier architecture and its training seed: ``backbone.s0``."""

    backbone: str
    seed: int

    @classmethod
    def parse(cls, text: str) -> Learner:
        backbone, seed = _parts(text, ("backbone", "seed"))
        if not re.fullmatch(r"s(0|[1-9]\d{0,3})", seed):
            raise InputError(f"learner {text!r}: the seed is written s0, s1, …")
        return cls(backbone, int(seed[1:]))

    def __str__(self) -> str:
        return f"{self.backbone}.s{self.seed}"


@dataclass(frozen=True, order=True)
class MethodRun:
    """A method's preset and the seed it is trained with: ``hcn`` is seed 0, ``hcn-s1`` the same preset with seed 1."""

    preset: str
    seed: int

    @classmethod
    def parse(cls, text: str) -> MethodRun:
        preset, dash, seed = slug(text).rpartition("-s")
        if not (dash and preset and seed.isdigit()):
            return cls(text, 0)
        if not re.fullmatch(r"[1-9]\d{0,3}", seed):
            raise InputError(f"method {text!r}: further seeds are written -s1, -s2, …; seed 0 has no ending.")
        return cls(preset, int(seed))

    def __str__(self) -> str:
        return f"{self.preset}-s{self.seed}" if self.seed else self.preset


@dataclass(frozen=True)
class Grid:
    """All strata of a cohort, finding-major, so that one finding's strata are contiguous."""

    findings: tuple[str, ...]
    ages: tuple[str, ...]
    sexes: tuple[str, ...]
    races: tuple[str, ...]

    def __post_init__(self) -> None:
        for value in (*self.findings, *self.ages, *self.sexes, *self.races):
            slug(value)

    def __iter__(self) -> Iterator[Stratum]:
        return (Stratum(*values) for values in product(self.findings, self.ages, self.sexes, self.races))

    def __len__(self) -> int:
        return len(self.findings) * self.cells

    @property
    def cells(self) -> int:
        """Demographic cells, and so the strata of one finding."""
        return len(self.ages) * len(self.sexes) * len(self.races)

    def of_finding(self, finding: str) -> list[Stratum]:
        """The contiguous strata of one finding."""
        if finding not in self.findings:
            raise InputError(f"finding {finding!r} is none of {', '.join(self.findings)}.")
        return [Stratum(finding, *values) for values in product(self.ages, self.sexes, self.races)]


def arms(methods: Iterable[str], mixes: Sequence[str] = MIXES) -> list[Arm]:
    """Real only first, then every mix of every method."""
    return [Arm(REAL, REAL_ONLY), *(Arm(slug(m), x) for m in methods for x in mixes)]


def contiguous_ranges(order: Sequence[str], wanted: Iterable[str], size: int) -> list[tuple[str, str]]:
    """Cut ``wanted`` into runs that are contiguous in ``order`` and at most ``size`` long.

    Returns:
        First and last key of each run. Every wanted key lies in exactly one run, no other key in any.
    """
    if size < 1:
        raise InputError(f"range size must be at least 1, got {size}.")
    wanted = list(wanted)
    position = {key: index for index, key in enumerate(order)}
    strangers = sorted({key for key in wanted if key not in position})
    if strangers:
        raise InputError(f"{strangers[0]!r} is no key of this range.")
    indices = sorted({position[key] for key in wanted})
    runs: list[list[int]] = []
    for index in indices:
        if runs and index == runs[-1][-1] + 1 and len(runs[-1]) < size:
            runs[-1].append(index)
        else:
            runs.append([index])
    return [(order[run[0]], order[run[-1]]) for run in runs]
