-- Did an arm change anything against the baseline, and did it cost accuracy?
-- One row per arm, quantity and group: the difference to the baseline with patients paired; ni_pass is non-inferiority.
-- param arm: text, default any
-- param quantity: slug, default any
-- param metric: slug, default any
select
    arm_a as arm, arm_b as baseline, quantity, metric, finding, attribute, "group", value_a, value_b, delta, ci_lo, ci_hi,
    p, p_adj, ni_margin, ni_pass, levelling_down, delong_p
from fairness_contrasts
where ($arm is null or arm_a = $arm)
    and ($quantity is null or quantity = $quantity)
    and ($metric is null or metric = $metric)
order by p_adj nulls last, arm_a, quantity, metric, finding, attribute, "group";
