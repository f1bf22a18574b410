-- What happened to every row that was received?
-- One row per source and step; rows read are rows kept and rows dropped of every kind.
-- param source: text, default any
select cohort, source, step, "rows"
from waterfall
where ($source is null or source = $source)
order by source, if(step = 'read', 0, if(step = 'kept', 1, 2)), step;
