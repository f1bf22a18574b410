select study_id, patient_id, split, "view", age_bin, sex, race, image_file, image_digest, source_path, label_source, terms
from studies
where study_id in (from chosen)
order by study_id;
