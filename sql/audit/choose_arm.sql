create or replace temp table chosen as
select distinct study_id from training_set_rows where arm = $id and study_id is not null;
