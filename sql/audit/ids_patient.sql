create or replace temp view ids as
select distinct patient_id as id, patient_id as key, 'patient' as what from studies;
