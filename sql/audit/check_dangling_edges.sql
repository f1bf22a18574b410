-- Edges whose parent is no artefact in force, by asset that has them.
select edges.child_kind, artefacts."partition" as child_partition, edges.parent_kind, edges.parent_id, edges.relation
from edges
left join artefacts on artefacts.artefact_id = edges.child_id and artefacts.asset = edges.child_kind
where edges.parent_id not in (select artefact_id from artefacts)
order by all;
