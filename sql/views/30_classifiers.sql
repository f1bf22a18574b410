-- One classifier in force: its artefact, its weights (classifier_id), and whether its training set has changed since.
create or replace view classifiers as
select
    artefacts.artefact_id,
    trained.*,
    sets.artefact_id is distinct from trained.training_set_id as stale,
    artefacts.terms,
    artefacts.run_id,
    artefacts.made_at
from parts.classifier_training as trained
left join parts.artefacts as artefacts
    on artefacts.asset = 'classifier' and artefacts."partition" = concat_ws('~', trained.arm, trained.learner)
left join parts.artefacts as sets
    on sets.asset = 'training_set' and sets."partition" = trained.arm;
