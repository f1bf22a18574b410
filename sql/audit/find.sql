-- What an id stands for: itself, else the things whose id begins with it (six characters or more).
select key, what, id = $id as exact
from ids
where id = $id or (length($id) >= 6 and starts_with(id, $id))
group by all
order by exact desc, key
limit 20;
