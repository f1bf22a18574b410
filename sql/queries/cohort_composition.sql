-- Who is in the cohort?
-- One row per split and demographic cell; unknown where a value is not recorded.
-- param split: slug, default any
select
    cohort, split, coalesce(age_bin, 'unknown') as age, coalesce(sex, 'unknown') as sex,
    coalesce(race, 'unknown') as race, count(*) as studies, count(distinct patient_id) as patients,
    count(image_file) as films
from studies
where ($split is null or split = $split)
group by all
order by all;
