-- What does each operating point cost whom?
-- One row per arm, finding, attribute, group and threshold rule: true and false positives, and films flagged.
-- param arm: text, default any
-- param finding: text, default all
-- param attribute: text, default any
select
    arm, finding, attribute, "group", threshold_id as "rule",
    max(estimate) filter (metric = 'tpr') as tpr, max(ci_lo) filter (metric = 'tpr') as tpr_lo,
    max(ci_hi) filter (metric = 'tpr') as tpr_hi,
    max(estimate) filter (metric = 'fpr') as fpr, max(ci_lo) filter (metric = 'fpr') as fpr_lo,
    max(ci_hi) filter (metric = 'fpr') as fpr_hi,
    max(estimate) filter (metric = 'ppv') as ppv, max(estimate) filter (metric = 'npv') as npv,
    max(estimate) filter (metric = 'flag_rate') as flag_rate
from fairness_estimates
where threshold_id is not null
    and weight_scheme = 'none'
    and ($arm is null or arm = $arm)
    and ($finding is null or finding = $finding)
    and ($attribute is null or attribute = $attribute)
group by arm, finding, attribute, "group", threshold_id
order by arm, finding, attribute, "group", threshold_id;
