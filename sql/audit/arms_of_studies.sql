-- Training sets that hold the chosen studies.
select arm, count(*) as "rows" from training_set_rows where study_id in (from chosen) group by all order by arm;
