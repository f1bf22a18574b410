-- How good is each arm over all patients?
-- One row per arm, finding and metric, averaged over training seeds; finding 'all' is all pathologies pooled.
-- param arm: text, default any
-- param finding: slug, default all
-- param metric: slug, default any
select arm, finding, metric, estimate, ci_lo, ci_hi, n_images, n_patients, n_pos, n_neg, null_reason
from fairness_estimates
where attribute = 'all'
    and "primary"
    and ($arm is null or arm = $arm)
    and ($finding is null or finding = $finding)
    and ($metric is null or metric = $metric)
order by metric, estimate desc nulls last, arm;
