"""Training sets, classifiers and their predictions."""

import dagster as dg

from cxr_assets.classification import classifiers, mixing
from cxr_assets.keys import Arm, Learner
from dagster_project.assets.cohort import studies
from dagster_project.assets.synthesis import synthetic_set
from dagster_project.emit import GPU_TAGS, OWNER, check_specs, result
from dagster_project.partitions import arm_by_learner, arms, method_to_arm
from dagster_project.resources import ProjectResource


@dg.asset(
    group_name="classification",
    kinds={"parquet", "duckdb"},
    owners=[OWNER],
    code_version=mixing.CODE_VERSION,
    partitions_def=arms,
    deps=[studies, dg.AssetDep(synthetic_set, partition_mapping=method_to_arm)],
    check_specs=check_specs("training_set", arms),
)
def training_set(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Real and synthetic films that one arm is trained on."""
    opened = project.open(context)
    return result(opened, mixing.mix_training_set(opened, Arm.parse(context.partition_key)))


@dg.asset(
    group_name="classification",
    kinds={"pytorch"},
    owners=[OWNER],
    code_version=classifiers.CODE_VERSION,
    pool="gpu",
    op_tags=GPU_TAGS,
    partitions_def=arm_by_learner,
    deps=[studies, training_set],
    check_specs=check_specs("classifier", arm_by_learner),
)
def classifier(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Finding classifier of one learner, trained on one arm's training set, with thresholds fitted on validation films."""
    opened = project.open(context)
    key = context.partition_key.keys_by_dimension  # type: ignore[attr-defined]
    return result(opened, classifiers.train_classifier(opened, Arm.parse(key["arm"]), Learner.parse(key["learner"])))


@dg.asset(
    group_name="classification",
    kinds={"pytorch", "parquet"},
    owners=[OWNER],
    code_version=classifiers.CODE_VERSION,
    pool="gpu",
    op_tags=GPU_TAGS,
    partitions_def=arm_by_learner,
    deps=[studies, classifier],
    check_specs=check_specs("predictions", arm_by_learner),
)
def predictions(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Scores of one classifier for the real test films, no patient of which trained it or its generator."""
    opened = project.open(context)
    key = context.partition_key.keys_by_dimension  # type: ignore[attr-defined]
    return result(opened, classifiers.predict_test(opened, Arm.parse(key["arm"]), Learner.parse(key["learner"])))
