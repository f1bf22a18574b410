-- Every edge on the way from some artefacts to what was made from them, however far; see walk_up.
with recursive walk(id) as (
    select unnest($starts::varchar[])
    union
    select edges.child_id from walk join edges on edges.parent_id = walk.id
)
select distinct
    edges.parent_id as here, edges.child_id as beyond, edges.child_kind as kind, edges.relation
from edges
join walk on edges.parent_id = walk.id
order by all;
