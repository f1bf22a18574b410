-- A table that has no part yet.
create or replace view parts.{table} as
select {nulls} where false;
