"""Finding values of the rows: from a column a finding, or from one column that lists labels."""

from __future__ import annotations

import polars as pl

from cxr_assets.cohorts.labels import NO_FINDING, SUPPORT_DEVICES
from cxr_assets.cohorts.table.accounts import Accounts
from cxr_assets.cohorts.table.mapping import LabelColumn, TableMapping, fold
from cxr_assets.cohorts.table.rows import LABELS, finding_column
from cxr_assets.cohorts.table.words import Unknowns, translated


def finding_values(rows: pl.DataFrame, mapping: TableMapping, unknowns: Unknowns, ledger: Accounts) -> pl.DataFrame:
    """``study_id`` and one Int8 column a finding: 1, 0, -1, null where the table says nothing."""
    if isinstance(mapping.findings, LabelColumn):
        values = _listed(rows, mapping.findings, mapping, unknowns, ledger)
    else:
        columns = []
        for finding in mapping.vocabulary:
            given = mapping.findings[finding]
            column = finding_column(finding)
            words = {fold(word): value for value, listed in given.lists().items() for word in listed}
            if mapping.decimal_comma:
                rows = rows.with_columns(pl.col(column).str.replace(r"^([+-]?[0-9]+),([0-9]+)\s*$", "$1.$2"))
            value = translated(
                rows,
                column,
                words,
                missing=mapping.missing,
                on_unknown=given.on_unknown or mapping.on_unknown,
                other=None,
                title=given.column,
                unknowns=unknowns,
                ledger=ledger,
                dtype=pl.Int8,
            )
            columns.append(value.alias(finding))
        values = rows.select("study_id").with_columns(columns)
    _note_contradictions(rows, values, ledger)
    return values


def _listed(
    rows: pl.DataFrame, given: LabelColumn, mapping: TableMapping, unknowns: Unknowns, ledger: Accounts
) -> pl.DataFrame:
    """Values of a label list; each distinct list is worked out once. A blank list says nothing of any finding."""
    known = {fold(label): finding for label, finding in given.labels.items()}
    nothing = {fold(word) for word in ("", *mapping.missing, *given.missing)}
    absent = 0 if given.absent == "negative" else None
    unsaid = dict.fromkeys(mapping.vocabulary)
    table: list[dict[str, object]] = []
    strange: dict[str, list[str]] = {}
    for text in rows[LABELS].drop_nulls().unique():
        labels = [label.strip() for label in text.split(given.separator)]
        spoken = [label for label in labels if fold(label) in known or fold(label) not in nothing]
        if odd := [label for label in spoken if fold(label) not in known]:
            strange[text] = odd
        present = {known.get(fold(label)) for label in spoken}
        said = {f: 1 if f in present else None if strange.get(text) else absent for f in mapping.vocabulary}
        table.append({LABELS: text, **(said if spoken else unsaid)})
    if strange:
        odd_rows = rows.filter(pl.col(LABELS).is_in(list(strange)))
        if (given.on_unknown or mapping.on_unknown) == "fail":
            unknowns.add(
                given.column, odd_rows[LABELS].replace_strict(strange, return_dtype=pl.List(pl.String)).explode()
            )
        else:
            ledger.note(
                odd_rows,
                column=LABELS,
                kind="unknown label",
                hint="not in the mapping; findings that the list does not name are null here",
            )
    schema = {LABELS: pl.String, **dict.fromkeys(mapping.vocabulary, pl.Int8)}
    frame = pl.DataFrame(table, schema=schema)
    return rows.select("study_id", LABELS).join(frame, on=LABELS, how="left", maintain_order="left").drop(LABELS)


def _note_contradictions(rows: pl.DataFrame, values: pl.DataFrame, ledger: Accounts) -> None:
    others = [name for name in values.columns if name not in ("study_id", NO_FINDING, SUPPORT_DEVICES)]
    if NO_FINDING not in values.columns or not others:
        return
    bad = (pl.col(NO_FINDING) == 1) & pl.any_horizontal(pl.col(others).is_in([1, -1]))
    ledger.note(
        rows.filter(values.select(bad.fill_null(False)).to_series()),
        column="study_id",
        kind="label contradiction",
        hint="no_finding is positive beside a finding that is positive or uncertain; kept as stated",
    )
