-- Images that stand in more than one row.
select image_id, count(*) as "rows", min(stratum) as stratum
from synthetic_images
group by image_id
having count(*) > 1
order by image_id;
