-- Scorecards: estimates by group, gaps between groups, and arms against each other.
create schema fairness_scorecard;
create schema report;

-- One figure of one group. learner is 'all' for the mean over training seeds, finding 'all' for all pathologies pooled.
create table fairness_scorecard.fairness_estimates (
    scorecard_id varchar, arm varchar, learner varchar, evaluation_set varchar, finding varchar, attribute varchar,
    "group" varchar, metric varchar, n_images bigint, n_patients bigint, n_pos bigint, n_neg bigint, estimate double,
    ci_lo double, ci_hi double, ci_method varchar, b_reps bigint, null_reason varchar, eligible boolean,
    weight_scheme varchar
);

-- One gap: between the best and worst eligible group (max_min), or of one group to all others (group_vs_rest).
create table fairness_scorecard.fairness_gaps (
    scorecard_id varchar, arm varchar, learner varchar, evaluation_set varchar, finding varchar, attribute varchar,
    metric varchar, gap_kind varchar, observed double, null_mean double, excess double, ci_lo double, ci_hi double,
    p_perm double, p_adj double, family varchar, worst_group varchar, best_group varchar, reported boolean
);

-- One bootstrap replicate of a quantity that arms are compared by; replicate 0 is the sample itself.
create table fairness_scorecard.fairness_replicates (
    arm varchar, finding varchar, attribute varchar, "group" varchar, metric varchar, quantity varchar,
    "replicate" bigint, value double
);

-- One quantity of arm_a less the same of arm_b, patients paired.
create table report.fairness_contrasts (
    arm_a varchar, arm_b varchar, finding varchar, attribute varchar, "group" varchar, metric varchar,
    quantity varchar, value_a double, value_b double, delta double, ci_lo double, ci_hi double, p double, p_adj double,
    ni_margin double, ni_pass boolean
);
