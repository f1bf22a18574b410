create or replace temp view ids as
select image_id as id, image_id as key, 'synthetic' as what from synthetic_images
union all
select study_id as id, study_id as key, 'real' as what from studies;
