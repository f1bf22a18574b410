-- Images drawn with adapters, by adapter; stale ones were drawn with an earlier one of the same name.
select
    images.method, count(*) as images, count(distinct images.stratum) as strata,
    count(*) filter (
        where not coalesce(images.adapter_id in (adapters.artefact_id, adapters.adapter_id), false)
    ) as stale
from synthetic_images as images
left join adapters on adapters.method = images.method
where images.method in (select unnest($methods::varchar[]))
group by all
order by images.method;
