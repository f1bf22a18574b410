-- The graph and what names its nodes, read once: the walks and look-ups of an audit then touch no file.
create temp table artefacts as from artefacts;
create temp table runs as from runs;
create temp table edges as from edges;
create temp table adapters as from adapters;
create temp table classifiers as from classifiers;
create temp table synthetic_images as from synthetic_images;
