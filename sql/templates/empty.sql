-- A table that has no part yet.
create view parts.{table} as
select {nulls} where false;
