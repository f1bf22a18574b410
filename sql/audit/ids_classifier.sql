create or replace temp view ids as
select
    unnest([concat_ws('~', arm, learner), artefact_id, classifier_id]) as id,
    concat_ws('~', arm, learner) as key,
    'classifier' as what
from classifiers;
