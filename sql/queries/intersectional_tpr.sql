-- How many of the truly ill does each arm find in every intersection of groups?
-- One row per arm, finding and intersection of two or more attributes: its true-positive rate, or why there is none.
-- param arm: text, default any
-- param finding: text, default any
-- param attribute: text, default any
select
    arm, finding, attribute, "group", metric, estimate, ci_lo, ci_hi, n_pos, n_neg, n_images, n_patients, eligible,
    null_reason
from fairness_estimates
where metric = 'tpr'
    and "primary"
    and contains(attribute, '×')
    and ($arm is null or arm = $arm)
    and ($finding is null or finding = $finding)
    and ($attribute is null or attribute = $attribute)
order by arm, finding, attribute, estimate nulls last, "group";
