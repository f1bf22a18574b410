-- Which subgroup does each arm serve worst, per finding?
-- One row per arm, attribute and finding: the eligible group with the worst value of the metric, with its interval.
-- param arm: text, default any
-- param finding: text, default any
-- param attribute: text, default any
-- param metric: text, default tpr
select arm, finding, attribute, "group", metric, estimate, ci_lo, ci_hi, n_pos, n_patients
from fairness_estimates
where metric = $metric
    and "primary"
    and eligible
    and estimate is not null
    and attribute <> 'all'
    and ($arm is null or arm = $arm)
    and ($finding is null or finding = $finding)
    and ($attribute is null or attribute = $attribute)
qualify row_number() over (
    partition by arm, learner, evaluation_set, finding, attribute
    order by if(metric in ('fpr', 'fnr', 'brier', 'ece', 'ece_debiased') or contains(metric, 'diagnosis'), -estimate, estimate), "group"
) = 1
order by if(metric in ('fpr', 'fnr', 'brier', 'ece', 'ece_debiased') or contains(metric, 'diagnosis'), -estimate, estimate), arm, finding, attribute;
