-- Under which terms may what was received, and what was made from it, be used and passed on?
-- One row per terms tag and kind of thing; source files first.
-- param terms: text, default any
with held as (
    select 'source files' as what, terms, terms_url, count(*) as items, count(*) as files, sum(bytes) as bytes
    from sources
    group by all
    union all by name
    select kind as what, terms, null as terms_url, count(*) as items, sum(files) as files, sum(bytes) as bytes
    from artefacts
    group by all
)
select terms, what, items, files::bigint as files, bytes::bigint as bytes, terms_url
from held
where ($terms is null or terms = $terms)
order by what <> 'source files', terms, what;
