-- Could a gap be explained by who was filmed, or by wrong labels?
-- One row per arm, finding, attribute and metric: the gap as it stands, at equal prevalence and ages, and the share of
-- wrong labels in the worst group that would account for all of it.
-- param arm: text, default any
-- param finding: text, default any
-- param attribute: text, default any
-- param metric: slug, default tpr
select
    raw.arm, raw.finding, raw.attribute, raw.metric, raw.worst_group, raw.best_group, raw.observed, raw.ci_lo,
    raw.ci_hi, matched.observed as matched_observed, matched.ci_lo as matched_ci_lo, matched.ci_hi as matched_ci_hi,
    matched.effective_n as matched_effective_n, matched.null_reason as matched_null_reason, raw.noise_to_explain,
    raw.noise_kind, raw.under_labelled_rate, raw.noise_reason
from fairness_gaps as raw
left join fairness_gaps as matched
    on matched.arm = raw.arm
    and matched.finding = raw.finding
    and matched.attribute = raw.attribute
    and matched.metric = raw.metric
    and matched.gap_kind = 'max_min'
    and matched.weight_scheme = 'matched'
where raw.gap_kind = 'max_min'
    and raw."primary"
    and raw.observed is not null
    and raw.metric = $metric
    and ($arm is null or raw.arm = $arm)
    and ($finding is null or raw.finding = $finding)
    and ($attribute is null or raw.attribute = $attribute)
order by raw.observed desc, raw.arm, raw.finding, raw.attribute;
