"""Partitions of the graph, from the project's keys. Names sort as Dagster needs them: the first one leads in a key."""

from __future__ import annotations

import warnings

import dagster as dg
from dagster_shared.utils.warnings import BetaWarning, PreviewWarning

from cxr_assets.keys import MIXES
from cxr_assets.project import Project

# Multi-partition mappings are beta and checks with partitions preview; both were tried and are pinned by version.
warnings.filterwarnings("ignore", category=BetaWarning)
warnings.filterwarnings("ignore", category=PreviewWarning)

PROJECT = Project.open()
GRID = PROJECT.grid

methods = dg.StaticPartitionsDefinition(PROJECT.methods)
strata = dg.StaticPartitionsDefinition([str(s) for s in GRID])
findings = dg.StaticPartitionsDefinition(list(GRID.findings))
arms = dg.StaticPartitionsDefinition([str(a) for a in PROJECT.arms])
learners = dg.StaticPartitionsDefinition([str(x) for x in PROJECT.learners])

method_by_stratum = dg.MultiPartitionsDefinition({"method": methods, "stratum": strata})
finding_by_method = dg.MultiPartitionsDefinition({"finding": findings, "method": methods})
arm_by_learner = dg.MultiPartitionsDefinition({"arm": arms, "learner": learners})

stratum_to_finding = dg.MultiPartitionMapping(
    {
        "method": dg.DimensionPartitionMapping("method", dg.IdentityPartitionMapping()),
        "stratum": dg.DimensionPartitionMapping(
            "finding", dg.StaticPartitionMapping({str(s): s.finding for s in GRID})
        ),
    }
)
method_to_arm = dg.StaticPartitionMapping({m: [f"{m}.{x}" for x in MIXES] for m in PROJECT.mixed_methods})
