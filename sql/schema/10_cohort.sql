-- Tables of a curated cohort. The schema a table is declared in names the asset that writes it.
create schema studies;

-- One image of one patient, or one report where its image is not at hand.
create table studies.studies (
    cohort varchar,
    study_id varchar,
    patient_id varchar,           -- what patient_id_kind says it is; leading zeros kept
    patient_id_kind varchar,      -- patient, study, report or image
    exam_id varchar,
    study_number bigint,          -- order in time within the patient
    "view" varchar,               -- PA, AP or LATERAL
    view_raw varchar,
    split_native varchar,         -- the split as published
    split varchar,                -- the split in force: train, validate or test
    age_years double,
    age_raw varchar,
    age_flags varchar,
    age_source varchar,           -- how age_years was decided
    sex varchar,
    sex_raw varchar,
    race5 varchar,                -- recorded race on one axis, Hispanic ethnicity first
    race_only varchar,            -- recorded race without ethnicity
    race_detail varchar,
    race_raw varchar,
    race_flags varchar,
    race_source varchar,          -- how race was decided where the source has several values
    ethnicity varchar,
    ethnicity_raw varchar,
    harmonisation varchar,        -- version of the race table
    image_digest varchar,         -- SHA-256 of the stored PNG
    image_file varchar,           -- relative to the data root
    width bigint,
    height bigint,
    source_path varchar,          -- relative to the cohort's own folder
    label_source varchar,
    label_granularity varchar,
    report_source varchar,
    terms varchar
);

-- One patient.
create table studies.patients (
    cohort varchar, patient_id varchar, patient_id_kind varchar, studies bigint, sex varchar, race5 varchar,
    race_only varchar, ethnicity varchar, split varchar
);

-- The labels of one study: 1 positive, 0 negative, -1 uncertain, null not mentioned or not in the vocabulary.
create table studies.finding_values (
    study_id varchar, no_finding tinyint, enlarged_cardiomediastinum tinyint, cardiomegaly tinyint, lung_opacity
    tinyint, lung_lesion tinyint, edema tinyint, consolidation tinyint, pneumonia tinyint, atelectasis tinyint,
    pneumothorax tinyint, pleural_effusion tinyint, pleural_other tinyint, fracture tinyint, support_devices
    tinyint, emphysema tinyint, fibrosis tinyint, hernia tinyint, infiltration tinyint
);

-- One finding of the cohort's vocabulary.
create table studies.cohort_findings (cohort varchar, finding varchar, "position" bigint);

-- One box around one finding, in pixels of the stored image.
create table studies.boxes (
    cohort varchar, study_id varchar, finding varchar, x double, y double, width double, height double, source varchar
);

-- One stored film: stored pixel = received pixel * scale + offset.
create table studies.films (
    cohort varchar, study_id varchar, phash varchar, received_as varchar, source_width bigint, source_height bigint,
    scale_x double, scale_y double, offset_x double, offset_y double
);

-- Two studies whose films are the same picture; distance is in bits of 256.
create table studies.near_duplicates (study_a varchar, study_b varchar, distance bigint);

-- One section of one report, verbatim.
create table studies.reports (cohort varchar, study_id varchar, section varchar, text varchar);

-- One complaint about one row or file as received.
create table studies.quarantine (
    cohort varchar, source varchar, "row" bigint, "column" varchar, value varchar, reason varchar
);

-- One file as received.
create table studies.sources (
    source_id varchar,            -- SHA-256 of the file
    cohort varchar,
    path varchar,                 -- relative to the cohort's own folder
    bytes bigint,
    rows_read bigint,
    rows_kept bigint,
    terms varchar,
    terms_url varchar,
    release varchar
);

-- One study and source file that it came from.
create table studies.study_sources (study_id varchar, source_id varchar, row_number bigint, "role" varchar);

-- One step of one source: rows read = rows kept + every kind dropped.
create table studies.waterfall (cohort varchar, source varchar, step varchar, "rows" bigint);

-- Phantom only. One study and finding: what the film truly shows, and how its label came about.
create table studies.phantom_truth (
    study_id varchar, finding varchar, present boolean, severity double, labelled tinyint, reason varchar
);

-- Phantom only. One finding: the disparity that was planted, and how many positive labels it removed.
create table studies.planted_disparity (
    finding varchar, subgroup varchar, enabled boolean, representation double, under_labelled double,
    n_train_positive bigint, n_removed bigint
);

-- Phantom only. One study: its mask of all findings, and the size of its lungs.
create table studies.phantom_masks (study_id varchar, mask_file varchar, lung_pixels bigint);
