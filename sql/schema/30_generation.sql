-- Generators: what they learned from, what they were to draw, what they drew, how good it is.
create schema held_out_cells;
create schema latents;
create schema adapter;
create schema synthesis_plan;
create schema synthetic_images;
create schema synthetic_catalogue;
create schema synthetic_set;

-- One demographic cell that no generator learns from: training films and patients in it.
create table held_out_cells.held_out_cells (
    cell varchar, age varchar, sex varchar, race varchar, images bigint, patients bigint
);

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

-- One planned image, the same for every method: whom and what it is to show, and its noise. age, sex and race are what is
-- asked for, unknown where nothing is; stratum is where it is drawn and counted. seed is that of the first attempt (k = 0).
create table synthesis_plan.synthesis_requests (
    prompt_id varchar, stratum varchar, finding varchar, age varchar, sex varchar, race varchar, "index" bigint, k bigint,
    age_years bigint, labels varchar, seed bigint, run bigint, seed_id varchar, composer varchar,
    template_version varchar, source_study varchar
);

-- One pair of findings: how often the other stands beside the first in training studies.
create table synthesis_plan.synthesis_cofindings (finding varchar, other varchar, probability double);

-- One synthetic image: the request, what drew it, the file, and whether it passed. k counts the attempts before it;
-- source_study is the real study whose labels it was asked to show, null where there is none.
create table synthetic_images.synthetic_images (
    image_id varchar, method varchar, finding varchar, age varchar, sex varchar, race varchar, stratum varchar,
    "index" bigint, prompt_id varchar, k bigint, source_study varchar, age_years bigint, labels varchar, prompt varchar,
    negative_prompt varchar, demographics_json varchar, seed bigint, sampler varchar, steps bigint, guidance double, strength double, width bigint, height bigint,
    base_id varchar, adapter_id varchar, caption_policy varchar, file varchar, sha256 varchar, cohort varchar,
    terms varchar, passed_quality boolean, reject_reason varchar
);

-- One attempt at an image: every seed that was drawn with, and what quality control said. Only the last one has a file.
create table synthetic_images.synthetic_attempts (
    image_id varchar, prompt_id varchar, method varchar, finding varchar, age varchar, sex varchar, race varchar,
    stratum varchar, k bigint, seed bigint, accepted boolean, reason varchar
);

-- One method and stratum as last catalogued.
create table synthetic_catalogue.synthetic_catalogue (
    method varchar, finding varchar, age varchar, sex varchar, race varchar, stratum varchar, "real" bigint,
    planned bigint, images bigint, quarantined bigint, state varchar, images_digest varchar
);

-- One image of a method, as in synthetic_images: one compact part a method, for heavy queries.
create table synthetic_set.synthetic_set (
    image_id varchar, method varchar, finding varchar, age varchar, sex varchar, race varchar, stratum varchar,
    "index" bigint, prompt_id varchar, k bigint, source_study varchar, age_years bigint, labels varchar, prompt varchar,
    negative_prompt varchar, demographics_json varchar, seed bigint, sampler varchar, steps bigint, guidance double, strength double, width bigint, height bigint,
    base_id varchar, adapter_id varchar, caption_policy varchar, file varchar, sha256 varchar, cohort varchar,
    terms varchar, passed_quality boolean, reject_reason varchar
);

-- One figure of a method's images; floor is the same distance between two halves of the real films. pass_rate is the share
-- that quality control let pass, of a stratum, an age, sex, race or a cell of them, at the first attempt or in the end
-- (features); pass_rate_gap is the largest difference of it between groups: a filter can bring a bias back.
create table synthetic_set.synthetic_quality (
    method varchar, quantity varchar, metric varchar, features varchar, value double, floor double, n bigint,
    null_reason varchar
);
