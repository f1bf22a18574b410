-- Who made what from what. Every asset writes these, one part a partition.
create schema provenance;

-- One process that made one partition.
create table provenance.runs (
    run_id varchar, kind varchar, asset varchar, "partition" varchar, started_at varchar, ended_at varchar,
    status varchar, code_version varchar, package_version varchar, git_commit varchar, config_json varchar,
    config_digest varchar, seed bigint, host_kind varchar, device varchar, torch_version varchar, parent_run_id varchar,
    retry_number bigint
);

-- One partition as it stands: its content digest, size and terms.
create table provenance.artefacts (
    artefact_id varchar, kind varchar, asset varchar, "partition" varchar, path varchar, bytes bigint, sha256 varchar,
    files bigint, "rows" bigint, run_id varchar, made_at varchar, terms varchar, supersedes varchar
);

-- One artefact and one artefact that it was made from.
create table provenance.edges (
    child_id varchar, child_kind varchar, parent_id varchar, parent_kind varchar, relation varchar, run_id varchar
);
