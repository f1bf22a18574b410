-- Artefacts of an asset by the names of their partitions.
select artefact_id, asset, "partition", terms
from artefacts
where asset = $asset and "partition" in (select unnest($partitions::varchar[]))
order by "partition";
