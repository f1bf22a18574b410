-- Models other than adapters that learned from the chosen studies: a detector from their boxes in the train split, a base
-- model trained from scratch, thresholds and best steps of classifiers from validate films.
select artefact_id, asset, "partition", terms, 'its boxes trained the detector' as how
from artefacts
where asset = 'disease_regions'
    and exists (
        from boxes join studies on studies.study_id = boxes.study_id
        where studies.split = 'train' and studies.study_id in (from chosen)
    )
    and starts_with(path, 'detectors/')
union all
select artefact_id, asset, "partition", terms, 'its films trained the base model'
from artefacts
where asset = 'base_model'
    and exists (from latent_rows where study_id in (from chosen))
    and artefact_id in (select child_id from edges where relation = 'trained_on')
union all
select artefact_id, asset, "partition", terms, 'its labels are in the counts of the plan'
from artefacts
where asset = 'synthesis_plan'
    and exists (from studies where split = 'train' and study_id in (from chosen))
union all
select artefact_id, asset, "partition", terms, 'its films chose thresholds and best step'
from artefacts
where asset = 'classifier'
    and exists (from studies where split = 'validate' and image_file is not null and study_id in (from chosen))
order by all;
