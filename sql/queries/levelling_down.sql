-- Did an arm narrow a gap by serving the best group worse?
-- One row per arm, attribute and metric of the pooled gap: how it changed, and whether the best group paid for it.
-- param arm: text, default any
select
    arm_a as arm, arm_b as baseline, finding, attribute, metric, value_b as gap_before, value_a as gap_after, delta, ci_lo,
    ci_hi, levelling_down
from fairness_contrasts
where levelling_down is not null and ($arm is null or arm_a = $arm)
order by levelling_down desc, arm_a, attribute, metric;
