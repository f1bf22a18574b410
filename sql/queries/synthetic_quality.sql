-- How good are the synthetic images of each method?
-- One row per method and figure; a distance is to be read against its floor, that of real films to real films.
-- param method: slug, default any
select method, quantity, metric, features, value, floor, n, null_reason
from synthetic_quality
where ($method is null or method = $method)
order by method, quantity, metric, features;
