-- How far apart are the best and the worst served group under each arm, and is that more than chance?
-- One row per arm, finding, attribute and metric: the gap between eligible groups, beside the one that chance gives.
-- param arm: text, default any
-- param finding: text, default any
-- param attribute: text, default any
-- param metric: text, default any
select
    arm, finding, attribute, metric, observed, null_mean, excess, ci_lo, ci_hi, p_perm, p_adj, worst_group, best_group,
    reported
from fairness_gaps
where gap_kind = 'max_min'
    and "primary"
    and ($arm is null or arm = $arm)
    and ($finding is null or finding = $finding)
    and ($attribute is null or attribute = $attribute)
    and ($metric is null or metric = $metric)
order by reported desc, excess desc nulls last, arm, finding, attribute, metric;
