-- Classifiers: what they were trained on, and what they say of evaluation films.
create schema training_set;
create schema classifier;
create schema predictions;

-- One label of one finding: how well the source of its films can be told from a classifier's features, and its share.
create table classifier.source_probe (
    arm varchar, learner varchar, finding varchar, label bigint, n_real bigint, n_synthetic bigint,
    share_synthetic double, auroc double, ci_lo double, ci_hi double, null_reason varchar
);

-- One arm and film: study_id of a real one or image_id of a synthetic one, the other is null.
create table training_set.training_set_rows (
    arm varchar, study_id varchar, image_id varchar, origin varchar, patient_id varchar, weight double,
    labels_source varchar, stratum varchar, labels varchar, file varchar
);

-- One classifier and finding: the threshold fitted on validate films.
create table classifier.thresholds (
    classifier_id varchar, arm varchar, learner varchar, finding varchar, threshold double, "rule" varchar,
    fitted_on varchar
);

-- One classifier: arm, learner, and the training set as it stood when it was trained.
create table classifier.classifier_training (
    classifier_id varchar, training_set_id varchar, arm varchar, learner varchar, backbone varchar, seed bigint,
    thresholds_id varchar, best_step bigint, validate_auroc double, films bigint
);

-- One classifier, evaluation film and finding with a known truth.
create table predictions.predictions (
    arm varchar, learner varchar, classifier_id varchar, evaluation_set varchar, study_id varchar, patient_id varchar,
    finding varchar, score double, truth tinyint
);
