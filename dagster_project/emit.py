"""From what the library made to what Dagster records: metadata, data version, check results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
import polars as pl

from cxr_assets.checks import BLOCKING, CHECKS, check_partition
from cxr_assets.cohorts.schema import TABLES
from cxr_assets.describe import Description, describe
from cxr_assets.outcomes import Outcome
from cxr_assets.project import Made, Project
from cxr_assets.warehouse.connect import keep_published

OWNER = "team:cxr-assets"
GPU_TAGS = {
    "dagster-k8s/config": {
        "container_config": {"resources": {"limits": {"nvidia.com/gpu": "1"}}},
        "pod_spec_config": {"tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]},
    }
}


MAIN_TABLE = {
    "disease_regions": "regions",
    "latents": "latent_rows",
    "adapter": "adapter_training_rows",
    "training_set": "training_set_rows",
    "classifier": "classifier_training",
    "fairness_scorecard": "fairness_estimates",
    "report": "fairness_contrasts",
}
"""The table that stands for an asset of another name."""


def check_specs(asset: str, partitions_def: Any = None) -> list[dg.AssetCheckSpec]:
    """Specs of an asset's checks, by partition where the asset has them."""
    return [
        dg.AssetCheckSpec(
            name,
            asset=asset,
            blocking=name in BLOCKING,
            partitions_def=partitions_def,
            description=name.replace("_", " "),
        )
        for name in CHECKS[asset]
    ]


def metadata_of(description: Description) -> dict[str, Any]:
    """A description as Dagster metadata: facts, then pictures, then tables with their first rows."""
    found: dict[str, Any] = {k: _value(v) for k, v in description.facts.items() if v is not None}
    found |= {name: dg.MetadataValue.md(text) for name, text in description.inline.items() if text}
    found |= {f"{name}_picture": dg.MetadataValue.md(text) for name, text in description.markdown().items()}
    return found | {name: _table(frame) for name, frame in description.tables.items() if frame.height}


def _value(value: Any) -> Any:
    return value if isinstance(value, bool | int | float | str) else str(value)


def _table(frame: pl.DataFrame, most: int = 40) -> dg.TableMetadataValue:
    rows = [
        {k: (v if isinstance(v, bool | int | float | str) or v is None else str(v)) for k, v in row.items()}
        for row in frame.head(most).iter_rows(named=True)
    ]
    columns = [dg.TableColumn(name, str(dtype)) for name, dtype in frame.schema.items()]
    return dg.MetadataValue.table([dg.TableRecord(r) for r in rows], schema=dg.TableSchema(columns=columns))  # type: ignore[arg-type]


def _schema(project: Project, made: Made) -> dict[str, Any]:
    """Column schema and row count of the partition's main table, for the UI's own panels."""
    main = MAIN_TABLE.get(made.manifest.asset, made.manifest.asset)
    for entry in made.manifest.files:
        if entry.path.startswith(f"tables/{main}/") and entry.path.endswith(".parquet"):
            schema = pl.read_parquet_schema(project.store.path(entry.path))
            meanings = {c.name: c.meaning for c in TABLES[main].columns} if main in TABLES else {}
            columns = [dg.TableColumn(name, str(dtype), meanings.get(name)) for name, dtype in schema.items()]
            return {
                "dagster/column_schema": dg.TableSchema(columns=columns),
                "dagster/row_count": made.manifest.rows[main],
            }
    return {}


def full_metadata(project: Project, made: Made) -> dict[str, Any]:
    """Everything that the UI shows of a partition."""
    return metadata_of(describe(project, made)) | _schema(project, made)


def check_results(outcomes: Sequence[Outcome], asset: str) -> list[dg.AssetCheckResult]:
    """Check outcomes as Dagster results; a blocking failure is an error, any other a warning."""
    return [
        dg.AssetCheckResult(
            check_name=o.name,
            asset_key=asset,
            passed=o.passed,
            severity=dg.AssetCheckSeverity.ERROR if o.blocking else dg.AssetCheckSeverity.WARN,
            metadata={k: _value(v) for k, v in o.facts.items() if v is not None},
        )
        for o in outcomes
    ]


def result(project: Project, made: Made) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """The result of an asset that makes one partition a run; a table that is new is published to other tools."""
    keep_published(project.store.root)
    return dg.MaterializeResult(
        metadata=full_metadata(project, made),
        data_version=dg.DataVersion(made.manifest.digest[:16]),
        check_results=check_results(check_partition(project, made.manifest), made.manifest.asset),
    )


def version_tags(
    context: dg.AssetExecutionContext, upstream: Mapping[str, str | None], code_version: str, digest: str
) -> dict[str, str]:
    """All four version tags of an event that an asset emits itself; a part of them would be worse than none.

    Args:
        upstream: asset name to partition (None for an unpartitioned one).
    """
    tags = {"dagster/data_version": digest[:16], "dagster/code_version": code_version}
    for name, partition in upstream.items():
        records = context.instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=dg.AssetKey(name), asset_partitions=[partition] if partition else None),
            limit=1,
        ).records
        if not records:
            return {"dagster/data_version": digest[:16]}
        event = records[0]
        version = (event.asset_materialization.tags or {}) if event.asset_materialization else {}
        tags[f"dagster/input_data_version/{name}"] = version.get("dagster/data_version", "INITIAL")
        tags[f"dagster/input_event_pointer/{name}"] = str(event.storage_id)
    return tags
