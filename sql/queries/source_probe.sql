-- Could a classifier take "synthetic" for a finding?
-- One row per arm, learner, finding and label: how well the source can be told, and the share of synthetic films.
-- param arm: text, default any
-- param finding: text, default any
select
    arm, learner, finding, label, n_real, n_synthetic, share_synthetic, auroc, ci_lo, ci_hi, null_reason
from source_probe
where ($arm is null or arm = $arm) and ($finding is null or finding = $finding)
order by arm, learner, finding, label nulls first;
