-- Which rows and files of the cohort were refused or had a value set aside, and why?
-- One row per complaint; row is the line in the file, null for a whole file.
-- param source: text, default any
select cohort, source, "row", "column", value, reason
from quarantine
where ($source is null or source = $source)
order by source, "row" nulls first, "column";
