-- Artefacts by id, with the run that made them.
select
    artefacts.artefact_id, artefacts.asset, artefacts."partition", artefacts.terms, artefacts."rows", artefacts.files,
    artefacts.bytes, artefacts.made_at, artefacts.run_id, runs.device, runs.code_version, runs.package_version,
    runs.git_commit, runs.config_digest
from artefacts
left join runs on runs.asset = artefacts.asset and runs."partition" = artefacts."partition"
where artefacts.artefact_id in (select unnest($ids::varchar[]))
order by artefacts.asset, artefacts."partition";
