-- A table as its parts: typed as declared, columns that a part lacks as null, and only partitions that have a manifest.
-- A writer takes the manifest away first and puts it back last, so a torn partition is never seen.
create or replace view parts.{table} as
select {casts}
from (
    select {nulls}, null::varchar as filename where false
    union all by name
    select * from read_parquet(
        {part_glob}, hive_partitioning = true, hive_types_autocast = false, union_by_name = true, filename = true
    )
)
where {partition_of_part} in (select {partition_of_manifest} from glob({manifest_glob}));
