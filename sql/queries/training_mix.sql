-- What is each arm trained on?
-- One row per arm, origin and stratum of the synthetic images (null for real films).
-- param arm: text, default any
select arm, origin, stratum, count(*) as films, count(distinct patient_id) as patients, sum(weight) as weight
from training_set_rows
where ($arm is null or arm = $arm)
group by all
order by arm, origin, films desc, stratum;
