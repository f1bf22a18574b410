-- What a training set holds.
select
    rows.origin, images.method, count(*) as films, count(distinct rows.patient_id) as patients,
    count(distinct images.stratum) as strata
from training_set_rows as rows
left join synthetic_images as images on images.image_id = rows.image_id
where rows.arm = $id
group by all
order by films desc;
