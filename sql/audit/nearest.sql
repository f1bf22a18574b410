select id from ids where id is not null group by id order by jaro_winkler_similarity(id, $id) desc, id limit 3;
