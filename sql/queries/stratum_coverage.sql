-- Which strata of the plan have their synthetic images, and which are missing or short?
-- One row per method and stratum of the plan; method is null while no method has an adapter or an image.
-- param method: slug, default any
-- param finding: slug, default any
-- param state: slug, default any
select method, finding, age, sex, race, "real", planned, images, quarantined, state
from strata
where ($method is null or method = $method)
    and ($finding is null or finding = $finding)
    and ($state is null or state = $state)
order by method, finding, age, sex, race;
