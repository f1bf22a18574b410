-- Does a score of 0.3 mean the same for everybody?
-- One row per arm, finding, attribute and group: calibration error less its bias, slope and intercept.
-- param arm: text, default any
-- param finding: text, default any
-- param attribute: text, default any
select
    arm, finding, attribute, "group",
    max(estimate) filter (metric = 'ece_debiased') as calibration_error,
    max(ci_lo) filter (metric = 'ece_debiased') as calibration_error_lo,
    max(ci_hi) filter (metric = 'ece_debiased') as calibration_error_hi,
    max(estimate) filter (metric = 'calibration_slope') as slope,
    max(ci_lo) filter (metric = 'calibration_slope') as slope_lo,
    max(ci_hi) filter (metric = 'calibration_slope') as slope_hi,
    max(estimate) filter (metric = 'calibration_in_the_large') as in_the_large,
    max(estimate) filter (metric = 'brier') as brier,
    max(n_pos) as n_pos, max(n_patients) as n_patients
from fairness_estimates
where metric in ('ece_debiased', 'calibration_slope', 'calibration_in_the_large', 'brier')
    and weight_scheme = 'none'
    and ($arm is null or arm = $arm)
    and ($finding is null or finding = $finding)
    and ($attribute is null or attribute = $attribute)
group by arm, finding, attribute, "group"
order by calibration_error desc nulls last, arm, finding, attribute, "group";
