-- Adapters that the chosen studies trained.
select
    adapters.artefact_id, adapters.method, adapters.terms, count(*) as studies_used, max(trained.times_seen) as times_seen
from adapter_training_rows as trained
join adapters on adapters.method = trained.method
where trained.study_id in (from chosen)
group by all
order by adapters.method;
