create or replace temp table chosen as select distinct study_id from adapter_training_rows where method = $id;
