select arm, count(*) as "rows" from training_set_rows where image_id = $id group by all order by arm;
