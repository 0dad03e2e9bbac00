"""PopQA: a TSV with the columns subj, prop, obj, s_pop, possible_answers and more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from knapsack.facts.formats.reading import (
    fill,
    json_names,
    tsv_rows,
)
from knapsack.facts.rows import MALFORMED, Row, item_id, property_id

POPQA_COLUMNS = ("subj", "prop", "obj", "s_pop", "possible_answers")
POPQA_RELATIONS = {
    "occupation": "P106",
    "place of birth": "P19",
    "genre": "P136",
    "father": "P22",
    "country": "P17",
    "producer": "P162",
    "director": "P57",
    "capital of": "P1376",
    "screenwriter": "P58",
    "composer": "P86",
    "color": "P462",
    "religion": "P140",
    "sport": "P641",
    "author": "P50",
    "mother": "P25",
    "capital": "P36",
}


def read_popqa(path: str, options: Any) -> Iterator[Row]:
    for row, fields in tsv_rows(path, POPQA_COLUMNS):
        if row.reason is None:
            name = fields["prop"]
            row.relation = POPQA_RELATIONS.get(name.lower(), property_id(name) or name)
            answers, aliases = json_names(fields["possible_answers"]), json_names(fields.get("o_aliases", ""))
            if answers is None or aliases is None:
                row.reason = MALFORMED
            else:
                fill(row, fields["subj"], fields["obj"])
                row.aliases = aliases
                row.also = tuple(answer for answer in answers if answer not in (row.object, *aliases))
                row.popularity = fields["s_pop"]
                for side, letter in (("subject", "s"), ("object", "o")):
                    plain = fields.get({"s": "subj_id", "o": "obj_id"}[letter])
                    setattr(row, f"{side}_id", item_id(fields.get(f"{letter}_uri")) or item_id(plain))
        yield row
