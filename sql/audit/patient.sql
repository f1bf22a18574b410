-- The chosen studies in one row: how many, whose, in which split, under which terms.
select
    any_value(cohort) as cohort, list(distinct patient_id order by patient_id) as patients, count(*) as studies,
    count(image_file) as films, list(distinct split order by split) as splits,
    list(distinct concat_ws(' ', age_bin, sex, race)) as demographics, list(distinct terms order by terms) as terms
from studies
where study_id in (from chosen);
