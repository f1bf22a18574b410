-- How common is each finding in each subgroup, as labelled?
-- One row per split, finding, attribute and group; prevalence is positives among studies labelled positive or negative.
-- param split: slug, default any
-- param finding: slug, default any
-- param attribute: text, default any
with people as (
    select
        study_id, patient_id, split, coalesce(age_bin, 'unknown') as age, coalesce(sex, 'unknown') as sex,
        coalesce(race, 'unknown') as race
    from studies
),
grouped as (
    select
        study_id, patient_id, split,
        unnest([
            {'attribute': 'all', 'group': 'all'},
            {'attribute': 'age_bin', 'group': age},
            {'attribute': 'sex', 'group': sex},
            {'attribute': 'race', 'group': race},
            {'attribute': 'age_bin×race', 'group': concat_ws('×', age, race)},
            {'attribute': 'age_bin×sex', 'group': concat_ws('×', age, sex)},
            {'attribute': 'race×sex', 'group': concat_ws('×', race, sex)},
            {'attribute': 'age_bin×race×sex', 'group': concat_ws('×', age, race, sex)}
        ], recursive := true)
    from people
)
select
    grouped.split,
    findings.finding,
    grouped.attribute,
    grouped."group",
    count(*) as studies,
    count(distinct grouped.patient_id) as patients,
    count(*) filter (where findings.value = 1) as positives,
    count(*) filter (where findings.value = 0) as negatives,
    count(*) filter (where findings.value = -1) as uncertain,
    count(*) filter (where findings.value is null) as unmentioned,
    positives / nullif(positives + negatives, 0) as prevalence
from findings
join grouped on grouped.study_id = findings.study_id
where ($split is null or grouped.split = $split)
    and ($finding is null or findings.finding = $finding)
    and ($attribute is null or grouped.attribute = $attribute)
group by all
order by all;
