-- Small tables that the project keeps beside the data, in reference.json: named choices of how to look at a cohort.
create schema reference;

-- The choices in force, one row.
create table reference.choices (age_scheme varchar, race_axis varchar, label_policy varchar);

-- One bin of one age scheme, closed on the left; below_years is null in the last.
create table reference.age_bins (
    age_scheme varchar, age_version bigint, age_bin varchar, from_years double, below_years double
);

-- What one label value of one finding counts as under one policy: 1, 0, or null where it does not count.
create table reference.label_policies (
    label_policy varchar, label_version bigint, finding varchar, value tinyint, "label" tinyint
);
