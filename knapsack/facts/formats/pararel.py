"""ParaRel: a TSV with the columns prop, subj, obj, or P36.jsonl as LAMA has them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from knapsack.facts.formats.reading import (
    base,
    fill,
    json_rows,
    jsonl_files,
    tsv_rows,
)
from knapsack.facts.rows import Row, item_id, property_id

PARAREL_COLUMNS = ("prop", "subj", "obj")


def read_pararel(path: str, options: Any) -> Iterator[Row]:
    if os.path.isdir(path) or ".jsonl" in base(path).lower():
        for file in jsonl_files(path):
            for row, record in json_rows(path, file):
                if row.reason is None:
                    row.relation = property_id(record.get("predicate_id")) or row.relation
                    fill(row, record.get("sub_label"), record.get("obj_label"))
                    row.subject_id, row.object_id = item_id(record.get("sub_uri")), item_id(record.get("obj_uri"))
                yield row
        return
    for row, fields in tsv_rows(path, PARAREL_COLUMNS):
        if row.reason is None:
            row.relation = fields["prop"]
            fill(row, fields["subj"], fields["obj"])
        yield row
