-- Where did a synthetic image come from?
-- One row per synthetic image: what was asked for, what drew it, in which run, from how many patients it was learned.
-- param image_id: text, default any
-- param method: slug, default any
-- param finding: slug, default any
select
    images.image_id, images.method, images.stratum, images."index", images.labels, images.prompt, images.seed,
    images.sampler, images.steps, images.guidance, images.base_id, images.adapter_id,
    not coalesce(images.adapter_id in (adapters.artefact_id, adapters.adapter_id), false) as stale,
    adapters.studies as adapter_studies, adapters.patients as adapter_patients, images.run_id, runs.started_at,
    runs.device, runs.package_version, runs.git_commit, images.file, images.sha256, images.terms,
    images.passed_quality, images.reject_reason
from synthetic_images as images
left join adapters on adapters.method = images.method
left join runs
    on runs.asset = 'synthetic_images'
    and runs."partition" = concat_ws('~', images.method, images.finding, images.age, images.sex, images.race)
where ($image_id is null or images.image_id = $image_id)
    and ($method is null or images.method = $method)
    and ($finding is null or images.finding = $finding)
order by images.method, images.stratum, images."index";
