-- Predictions that were made of the chosen studies, by classifier.
select artefacts.artefact_id, artefacts.terms, made.arm, made.learner, count(*) as "rows"
from predictions as made
left join artefacts
    on artefacts.asset = 'predictions' and artefacts."partition" = concat_ws('~', made.arm, made.learner)
where made.study_id in (from chosen)
group by all
order by made.arm, made.learner;
