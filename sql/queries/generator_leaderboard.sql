-- Which generator leads, and is its lead more than the luck of a seed?
-- One row per preset and figure, over its training seeds; nobody is best whose lead the seeds could explain.
-- param preset: slug, default any
-- param metric: slug, default any
-- param attribute: text, default all
-- param finding: text, default all
select
    metric, finding, features, attribute, "group", preset, mean, sd, seeds, floor, ceiling, direction, verdict, null_reason
from generator_leaderboard
where ($preset is null or preset = $preset)
    and ($metric is null or metric = $metric)
    and ($attribute is null or attribute = $attribute)
    and ($finding is null or finding = $finding)
order by
    metric, finding, features, attribute, "group",
    case direction when 'lower' then mean when 'higher' then -mean else abs(mean - 1) end nulls last, preset;
