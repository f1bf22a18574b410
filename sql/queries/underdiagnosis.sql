-- Who is told that nothing is wrong, though something is?
-- One row per arm, attribute and group: share of ill films without any flag, and what stands beside it.
-- param arm: text, default any
-- param attribute: text, default any
-- param metric: slug, default underdiagnosis_any
select
    arm, finding, attribute, "group", metric, estimate, ci_lo, ci_hi, n_pos, n_neg, n_patients, eligible, null_reason
from fairness_estimates
where metric = $metric
    and "primary"
    and ($arm is null or arm = $arm)
    and ($attribute is null or attribute = $attribute)
order by arm, attribute, estimate desc nulls last, "group";
