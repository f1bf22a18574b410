-- Generators side by side: figures of each method and seed, and presets over their seeds.
create schema generator_leaderboard;

-- One figure of one method: floor is the same distance between two halves of the real films, ceiling the same figure on
-- real films; direction says where the best values lie (higher, lower, or near one).
create table generator_leaderboard.generator_scores (
    method varchar, preset varchar, seed bigint, metric varchar, finding varchar, features varchar, attribute varchar,
    "group" varchar, value double, floor double, ceiling double, n bigint, null_reason varchar, direction varchar
);

-- One preset and figure over its seeds: verdict is 'best' only for a lead beyond what seeds scatter.
create table generator_leaderboard.generator_leaderboard (
    preset varchar, metric varchar, finding varchar, features varchar, attribute varchar, "group" varchar,
    direction varchar, mean double, sd double, seeds bigint, floor double, ceiling double, verdict varchar,
    null_reason varchar
);

-- Two presets over held-out cells in one figure: exact two-sided sign test, and the mean difference (a less b) with a
-- bootstrap interval over cells.
create table generator_leaderboard.generator_cells (
    a varchar, b varchar, metric varchar, finding varchar, features varchar, cells bigint, a_better bigint,
    b_better bigint, ties bigint, p double, mean_difference double, ci_lo double, ci_hi double, null_reason varchar
);
