-- Every edge on the way from some artefacts to what they were made from, however far. Ends on a cycle: union drops what
-- has been seen, and no depth is carried that would make each lap a new row.
with recursive walk(id) as (
    select unnest($starts::varchar[])
    union
    select edges.parent_id from walk join edges on edges.child_id = walk.id
)
select distinct
    edges.child_id as here, edges.parent_id as beyond, edges.parent_kind as kind, edges.relation
from edges
join walk on edges.child_id = walk.id
order by all;
