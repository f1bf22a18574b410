-- One adapter in force: its artefact, the digest of its weights (adapter_id) and how much it was trained on.
create or replace view adapters as
select
    artefacts.artefact_id,
    artefacts."partition" as method,
    any_value(trained.adapter_id) as adapter_id,
    count(trained.study_id) as studies,
    count(distinct trained.patient_id) as patients,
    artefacts.terms,
    artefacts.run_id,
    artefacts.made_at
from parts.artefacts as artefacts
left join parts.adapter_training_rows as trained on trained.method = artefacts."partition"
where artefacts.asset = 'adapter'
group by all;
