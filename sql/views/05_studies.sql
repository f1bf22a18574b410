-- Studies with the age bin and the race of the choices in force; null where unknown.
create or replace view studies as
select
    studies.*,
    bins.age_bin,
    if(choices.race_axis = 'race_only', studies.race_only, studies.race5) as race,
    choices.race_axis,
    choices.age_scheme
from parts.studies as studies
left join parts.choices as choices on true
left join parts.age_bins as bins
    on bins.age_scheme = choices.age_scheme
    and studies.age_years >= bins.from_years
    and (bins.below_years is null or studies.age_years < bins.below_years);

-- One study under one age scheme and axis of race: filter by both, or every study is there many times.
create or replace view demographics as
select
    studies.study_id,
    studies.patient_id,
    studies.split,
    schemes.age_scheme,
    bins.age_bin,
    studies.sex,
    axes.race_axis,
    if(axes.race_axis = 'race_only', studies.race_only, studies.race5) as race,
    studies.ethnicity
from parts.studies as studies
cross join (select distinct age_scheme from parts.age_bins) as schemes
cross join (values ('race5'), ('race_only')) as axes (race_axis)
left join parts.age_bins as bins
    on bins.age_scheme = schemes.age_scheme
    and studies.age_years >= bins.from_years
    and (bins.below_years is null or studies.age_years < bins.below_years);

-- Patients with the race of the axis in force.
create or replace view patients as
select patients.*, if(choices.race_axis = 'race_only', patients.race_only, patients.race5) as race
from parts.patients as patients
left join parts.choices as choices on true;
