create or replace temp table chosen as select study_id from studies where patient_id = $id;
