-- Which groups could not be judged, and why?
-- One row per arm, finding, attribute and group that is suppressed, undefined or too small to enter a gap.
-- param arm: text, default any
-- param attribute: text, default any
-- param metric: slug, default tpr
select
    arm, finding, attribute, "group", metric, coalesce(null_reason, 'imprecise') as reason, n_images, n_patients, n_pos,
    n_neg
from fairness_estimates
where metric = $metric
    and "primary"
    and not eligible
    and attribute <> 'all'
    and ($arm is null or arm = $arm)
    and ($attribute is null or attribute = $attribute)
order by arm, attribute, finding, "group";
