-- One study and finding of the vocabulary: 1 positive, 0 negative, -1 uncertain, null not mentioned. As the source says it.
create or replace view findings as
select studies.cohort, long.study_id, studies.patient_id, long.finding, long.value, studies.label_source
from parts.finding_values unpivot include nulls ("value" for finding in (columns(* exclude (study_id)))) as long
join parts.cohort_findings as vocabulary on vocabulary.finding = long.finding
join parts.studies as studies on studies.study_id = long.study_id;

-- The same under one label policy: label is what a value counts as (1, 0, or null where it does not count). Filter by policy.
create or replace view labels as
select findings.*, policies.label_policy, policies.label_version, policies."label"
from findings
join parts.label_policies as policies
    on policies.finding = findings.finding and policies.value is not distinct from findings.value;
