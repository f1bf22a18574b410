-- Generators: what they learned from, what they were to draw, what they drew, how good it is.
create schema latents;
create schema adapter;
create schema synthesis_plan;
create schema synthetic_images;
create schema synthetic_catalogue;
create schema synthetic_set;

-- One training film in the latent cache.
create table latents.latent_rows (
    "row" bigint, study_id varchar, patient_id varchar, image_file varchar, image_digest varchar, caption varchar,
    split varchar, caption_row bigint
);

-- One adapter and study that it was trained on.
create table adapter.adapter_training_rows (
    method varchar, adapter_id varchar, study_id varchar, patient_id varchar, caption_sha256 varchar, weight double,
    split varchar, times_seen bigint
);

-- One stratum: real positive training studies, and images planned of it for every method.
create table synthesis_plan.synthesis_plan (
    stratum varchar, finding varchar, age varchar, sex varchar, race varchar, "real" bigint, planned bigint
);

-- One pair of findings: how often the other stands beside the first in training studies.
create table synthesis_plan.synthesis_cofindings (finding varchar, other varchar, probability double);

-- One synthetic image: the request, what drew it, the file, and whether it passed.
create table synthetic_images.synthetic_images (
    image_id varchar, method varchar, finding varchar, age varchar, sex varchar, race varchar, stratum varchar,
    "index" bigint, age_years bigint, labels varchar, prompt varchar, negative_prompt varchar, demographics_json varchar,
    seed bigint, sampler varchar, steps bigint, guidance double, strength double, width bigint, height bigint,
    base_id varchar, adapter_id varchar, caption_policy varchar, file varchar, sha256 varchar, cohort varchar,
    terms varchar, passed_quality boolean, reject_reason varchar
);

-- One method and stratum as last catalogued.
create table synthetic_catalogue.synthetic_catalogue (
    method varchar, finding varchar, age varchar, sex varchar, race varchar, stratum varchar, "real" bigint,
    planned bigint, images bigint, quarantined bigint, state varchar, images_digest varchar
);

-- One image of a method, as in synthetic_images: one compact part a method, for heavy queries.
create table synthetic_set.synthetic_set (
    image_id varchar, method varchar, finding varchar, age varchar, sex varchar, race varchar, stratum varchar,
    "index" bigint, age_years bigint, labels varchar, prompt varchar, negative_prompt varchar, demographics_json varchar,
    seed bigint, sampler varchar, steps bigint, guidance double, strength double, width bigint, height bigint,
    base_id varchar, adapter_id varchar, caption_policy varchar, file varchar, sha256 varchar, cohort varchar,
    terms varchar, passed_quality boolean, reject_reason varchar
);

-- One figure of a method's images; floor is the same distance between two halves of the real films.
create table synthetic_set.synthetic_quality (
    method varchar, quantity varchar, metric varchar, features varchar, value double, floor double, n bigint,
    null_reason varchar
);
