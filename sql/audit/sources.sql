-- Files as received that the chosen studies came from.
select
    sources.source_id, sources.path, links."role", sources.terms, sources.terms_url, sources.release,
    count(distinct links.study_id) as studies,
    if(count(distinct links.study_id) = 1, any_value(links.row_number), null) as row_number
from study_sources as links
join sources on sources.source_id = links.source_id
where links.study_id in (from chosen)
group by all
order by studies desc, sources.path, links."role";
