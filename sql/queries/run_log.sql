-- What was made when, by which code, on which machine?
-- One row per partition as it stands, newest first.
-- param asset: slug, default any
-- param run_id: text, default any
select
    runs.ended_at, runs.asset, runs."partition", runs.run_id, runs.kind, runs.started_at, runs.status, runs.device,
    runs.host_kind, runs.package_version, runs.git_commit, runs.code_version, runs.config_digest,
    artefacts.artefact_id, artefacts."rows", artefacts.files, artefacts.bytes, artefacts.terms
from runs
left join artefacts on artefacts.asset = runs.asset and artefacts."partition" = runs."partition"
where ($asset is null or runs.asset = $asset)
    and ($run_id is null or runs.run_id = $run_id)
order by runs.ended_at desc, runs.asset, runs."partition";
