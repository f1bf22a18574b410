-- Which studies show the same film, and are they of one patient and one split?
-- One row per pair; distance is the number of bits of 256 in which their perceptual hashes differ.
-- param across_splits: text, default any
select
    pairs.study_a,
    pairs.study_b,
    pairs.distance,
    a.patient_id = b.patient_id as same_patient,
    a.split as split_a,
    b.split as split_b
from near_duplicates as pairs
join studies as a on a.study_id = pairs.study_a
join studies as b on b.study_id = pairs.study_b
where $across_splits is null or a.split <> b.split
order by pairs.distance, pairs.study_a, pairs.study_b;
