-- Arms whose training set names images that do not exist.
select rows.arm, count(*) as "rows", min(rows.image_id) as example
from training_set_rows as rows
where rows.image_id is not null and rows.image_id not in (select image_id from synthetic_images where image_id is not null)
group by all
order by rows.arm;
