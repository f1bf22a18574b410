-- Classifiers of some arms; stale ones were trained before their training set was last made.
select artefact_id, classifier_id, arm, learner, terms, stale
from classifiers
where arm in (select unnest($arms::varchar[]))
order by arm, learner;
