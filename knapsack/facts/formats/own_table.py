"""A table of facts as facts/table.py has it, read leniently."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from knapsack.facts.formats.reading import (
    fill,
    json_names,
    tsv_rows,
)
from knapsack.facts.rows import MALFORMED, Row, item_id

TABLE_COLUMNS = ("relation", "subject", "object")
OWN_ID = re.compile("(.*):(Q[1-9][0-9]*)")


def read_own(path: str, options: Any) -> Iterator[Row]:
    """Lenient: what does not fit is dropped row by row. Columns other than relation, subject, object may be missing."""
    for row, fields in tsv_rows(path, TABLE_COLUMNS, quoted=False):
        if row.reason is None:
            aliases, also = json_names(fields.get("aliases", "")), json_names(fields.get("also", ""))
            if aliases is None or also is None:
                row.reason = MALFORMED
            else:
                row.relation = fields["relation"]
                fill(row, fields["subject"], fields["object"])
                found = OWN_ID.fullmatch(fields.get("id", ""))
                row.subject_id = found.group(2) if found and found.group(1) == row.relation else None
                row.object_id = item_id(fields.get("object_id"))
                row.aliases, row.also = aliases, also
                row.popularity = fields.get("popularity") or None
                row.web_documents = fields.get("web_documents") or None
        yield row
