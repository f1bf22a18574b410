-- One method and stratum of the plan: what is there now, and whether that is missing, short or complete.
create or replace view strata as
with drawn as materialized (
    select method, stratum, count(*) as images, count(*) filter (where not passed_quality) as quarantined
    from parts.synthetic_images
    group by all
),
methods as (
    select "partition" as method from parts.artefacts where asset = 'adapter'
    union
    select method from drawn
)
select
    methods.method,
    plan.finding,
    plan.age,
    plan.sex,
    plan.race,
    plan.stratum,
    plan."real",
    plan.planned,
    coalesce(drawn.images, 0) as images,
    coalesce(drawn.quarantined, 0) as quarantined,
    case
        when coalesce(drawn.images, 0) >= plan.planned then 'complete'
        when coalesce(drawn.images, 0) = 0 then 'missing'
        else 'short'
    end as state
from parts.synthesis_plan as plan
left join methods on true
left join drawn on drawn.method = methods.method and drawn.stratum = plan.stratum;
