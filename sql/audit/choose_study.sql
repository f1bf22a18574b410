create or replace temp table chosen as select study_id from studies where study_id = $id;
