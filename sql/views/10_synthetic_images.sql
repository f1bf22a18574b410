-- Synthetic images with the run that drew them, which is not in the files so that their bytes do not depend on it.
create or replace view synthetic_images as
select images.*, artefacts.run_id
from parts.synthetic_images as images
left join parts.artefacts as artefacts
    on artefacts.asset = 'synthetic_images'
    and artefacts."partition" = concat_ws('~', images.method, images.finding, images.age, images.sex, images.race);
