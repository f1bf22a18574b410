-- Patients of the test split, or with predictions, whose films trained a generator or a classifier.
with evaluated as (
    select patient_id from studies where split = 'test'
    union
    select patient_id from predictions
),
trained as (
    select 'adapter ' || method as what, patient_id from adapter_training_rows
    union
    select 'training_set ' || arm as what, patient_id from training_set_rows where patient_id is not null
    union
    select 'latents' as what, patient_id from latent_rows
)
select trained.what, count(distinct trained.patient_id) as patients, min(trained.patient_id) as example
from trained
where trained.patient_id in (select patient_id from evaluated)
group by all
order by trained.what;
