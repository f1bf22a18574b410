-- What a generator is told about a study, and where the findings lie.
create schema captions;
create schema disease_regions;

-- One study that has a caption.
create table captions.captions (
    cohort varchar, study_id varchar, caption varchar, policy varchar, source varchar, tokens bigint, truncated boolean
);

-- One study: whether its caption was used, truncated or dropped, and why.
create table captions.caption_fates (study_id varchar, fate varchar, reason varchar);

-- One box that the detector found, in pixels of the stored image.
create table disease_regions.regions (
    study_id varchar, finding varchar, x double, y double, width double, height double, confidence double
);

-- One finding: share of its true boxes that the detector found on test films.
create table disease_regions.region_recall (finding varchar, metric varchar, value double, n bigint);

-- One study with a found box: its mask.
create table disease_regions.region_masks (study_id varchar, mask_file varchar);
