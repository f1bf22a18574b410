-- Scorecard tables with the artefact that they belong to, which is not in the files: they are part of its digest.
create or replace view fairness_estimates as
select estimates.* replace (coalesce(estimates.scorecard_id, artefacts.artefact_id) as scorecard_id)
from parts.fairness_estimates as estimates
left join parts.artefacts as artefacts
    on artefacts.asset = 'fairness_scorecard' and artefacts."partition" = estimates.arm;

create or replace view fairness_gaps as
select gaps.* replace (coalesce(gaps.scorecard_id, artefacts.artefact_id) as scorecard_id)
from parts.fairness_gaps as gaps
left join parts.artefacts as artefacts
    on artefacts.asset = 'fairness_scorecard' and artefacts."partition" = gaps.arm;

create or replace view fairness_reliability as
select reliability.*, artefacts.artefact_id as scorecard_id
from parts.fairness_reliability as reliability
left join parts.artefacts as artefacts
    on artefacts.asset = 'fairness_scorecard' and artefacts."partition" = reliability.arm;
