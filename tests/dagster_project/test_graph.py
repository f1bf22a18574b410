"""The graph as it is defined: what stands in it, how wide its edges are, what every asset brings along."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

SNAPSHOT = Path(__file__).with_name("graph.txt")


@pytest.fixture(scope="module")
def graph(root: Path) -> dg.BaseAssetGraph:  # type: ignore[name-defined,type-arg]
    from dagster_project.definitions import defs

    dg.Definitions.validate_loadable(defs)
    return defs.resolve_asset_graph()


def lines(graph: dg.BaseAssetGraph) -> list[str]:  # type: ignore[name-defined,type-arg]
    """One line an asset: key, group, partitions, code version, pools, kinds, parents."""
    found = []
    for key in sorted(graph.get_all_asset_keys()):
        node = graph.get(key)
        count = node.partitions_def.get_num_partitions() if node.partitions_def else 1
        parents = ",".join(sorted(p.to_user_string() for p in node.parent_keys))
        pools, kinds = ",".join(sorted(node.pools or ())), ",".join(sorted(node.kinds))
        found.append(
            f"{key.to_user_string()} | {node.group_name} | {count} | v{node.code_version} | {pools} | {kinds} | {parents}"
        )
    return found


def test_graph_is_as_recorded(graph: dg.BaseAssetGraph) -> None:  # type: ignore[name-defined,type-arg]
    assert lines(graph) == SNAPSHOT.read_text().splitlines(), "the graph changed: review it, then write graph.txt anew"


def test_every_asset_has_owner_kind_description_and_check(graph: dg.BaseAssetGraph) -> None:  # type: ignore[name-defined,type-arg]
    checked = {check.asset_key for check in graph.asset_check_keys}
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        assert node.owners and node.kinds and node.description and node.group_name and node.code_version, key
        assert key in checked, key


def test_no_edge_is_as_wide_as_dagster_stops_comparing(graph: dg.BaseAssetGraph) -> None:  # type: ignore[name-defined,type-arg]
    from dagster._core.definitions.partitions.mapping import AllPartitionMapping  # noqa: F401  (imported to fail early on a move)

    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        for parent_key in node.parent_keys:
            parent = graph.get(parent_key)
            if parent.partitions_def is None:
                continue
            widths = [parent.partitions_def.get_num_partitions()]
            if node.partitions_def is not None:
                mapping = graph.get_partition_mapping(key, parent_key)
                widths = [
                    len(
                        mapping.get_upstream_mapped_partitions_result_for_partitions(
                            node.partitions_def.subset_with_partition_keys([k]),
                            node.partitions_def,
                            parent.partitions_def,
                        ).partitions_subset.get_partition_keys()
                    )
                    for k in node.partitions_def.get_partition_keys()
                ]
            assert max(widths) < 100, (key, parent_key, max(widths))


def test_gpu_steps_carry_pool_and_cluster_tags(graph: dg.BaseAssetGraph) -> None:  # type: ignore[name-defined,type-arg]
    from dagster_project.definitions import defs

    for name in (
        "base_model",
        "latents",
        "disease_regions",
        "adapter",
        "synthetic_images",
        "classifier",
        "predictions",
    ):
        definition = defs.get_assets_def(name)
        assert graph.get(dg.AssetKey(name)).pools == {"gpu"}, name
        limits = definition.op.tags["dagster-k8s/config"]
        assert "nvidia.com/gpu" in str(limits), name


def test_schedule_and_sensor_are_off_until_turned_on(root: Path) -> None:
    from dagster_project.automation import fill_after_training, fill_nightly

    assert fill_nightly.default_status == dg.DefaultScheduleStatus.STOPPED
    assert fill_after_training.default_status == dg.DefaultSensorStatus.STOPPED
