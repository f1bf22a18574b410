-- How many rows of each table are about the chosen studies.
select 'studies' as "table", count(*) as "rows" from studies where study_id in (from chosen)
union all select 'findings', count(*) from findings where study_id in (from chosen)
union all select 'boxes', count(*) from boxes where study_id in (from chosen)
union all select 'reports', count(*) from reports where study_id in (from chosen)
union all select 'captions', count(*) from captions where study_id in (from chosen)
union all select 'regions', count(*) from regions where study_id in (from chosen)
union all select 'latent_rows', count(*) from latent_rows where study_id in (from chosen);
