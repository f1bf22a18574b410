-- Which synthetic images were set aside, and why?
-- One row per method, stratum and reason.
-- param method: slug, default any
select method, finding, age, sex, race, reject_reason as reason, count(*) as images, min(file) as example
from synthetic_images
where not passed_quality and ($method is null or method = $method)
group by all
order by images desc, method, finding, age, sex, race, reason;
