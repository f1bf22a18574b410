-- Training sets that hold images of some methods.
select rows.arm, count(*) as "rows"
from training_set_rows as rows
join synthetic_images as images on images.image_id = rows.image_id
where images.method in (select unnest($methods::varchar[]))
group by all
order by rows.arm;
