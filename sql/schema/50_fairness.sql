-- Scorecards: estimates by group, gaps between groups, and arms against each other.
create schema fairness_scorecard;
create schema report;

-- One figure of one group. learner is 'all' for the mean over training seeds, finding 'all' for all pathologies pooled;
-- primary rows are those without a threshold or at the primary rule, unweighted.
create table fairness_scorecard.fairness_estimates (
    scorecard_id varchar, arm varchar, learner varchar, evaluation_set varchar, finding varchar, attribute varchar,
    "group" varchar, metric varchar, threshold_id varchar, n_images bigint, n_patients bigint, n_pos bigint,
    n_neg bigint, estimate double, ci_lo double, ci_hi double, ci_method varchar, b_reps bigint, null_reason varchar,
    eligible boolean, weight_scheme varchar, effective_n double, "primary" boolean
);

-- One gap between eligible groups, by gap_kind: max_min, equalized_odds_max, group_vs_rest … (docs/fairness.md).
create table fairness_scorecard.fairness_gaps (
    scorecard_id varchar, arm varchar, learner varchar, evaluation_set varchar, finding varchar, attribute varchar,
    metric varchar, threshold_id varchar, gap_kind varchar, "groups" bigint, observed double, null_mean double,
    excess double, ci_lo double, ci_hi double, bca_lo double, bca_hi double, ci_method varchar, b_reps bigint,
    p_perm double, p_adj double, family varchar, worst_group varchar, best_group varchar, noise_to_explain double,
    noise_kind varchar, under_labelled_rate double, noise_reason varchar, reported boolean,
    weight_scheme varchar, effective_n double, null_reason varchar, "primary" boolean
);

-- One bootstrap replicate of a quantity that arms are compared by; replicate 0 is the sample itself.
create table fairness_scorecard.fairness_replicates (
    arm varchar, finding varchar, attribute varchar, "group" varchar, metric varchar, quantity varchar,
    "replicate" bigint, value double
);

-- One bin of a reliability curve: mean score beside the share that is positive, with its Wilson interval.
create table fairness_scorecard.fairness_reliability (
    arm varchar, learner varchar, evaluation_set varchar, finding varchar, attribute varchar, "group" varchar,
    bin bigint, n bigint, mean_score double, share_positive double, lo double, hi double
);

-- One quantity of arm_a less the same of arm_b, patients paired.
create table report.fairness_contrasts (
    arm_a varchar, arm_b varchar, learner varchar, evaluation_set varchar, finding varchar, attribute varchar,
    "group" varchar, metric varchar, quantity varchar, value_a double, value_b double, delta double, ci_lo double, ci_hi double, p double, p_adj double,
    ni_margin double, ni_pass boolean, levelling_down boolean, delong_ci_lo double,
    delong_ci_hi double, delong_p double, null_reason varchar, paired_key_hash varchar
);
