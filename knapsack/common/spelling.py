"""When two spellings are one name. Used wherever names are compared: tables, answers, pools, search in text.

NFKC rather than NFC: full-width letters, ligatures and no-break spaces are ways to write a character, not other
characters; that a name with an index (H₂, m²) then equals the plain one is seen in the account of dropped rows. Case
and accents are kept: Polish and polish, Sao and São are different names.
"""

from __future__ import annotations

import functools
import re
import sys
import unicodedata

# What shows nothing and means nothing in a name: soft hyphen, zero-width space, marks and isolates of direction, word
# joiner, byte order mark. The two zero-width joiners shape letters in some scripts: they stay in a name, but make none.
INVISIBLE = "\u00ad\u034f\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb"
_INVISIBLE = re.compile(f"[{INVISIBLE}]")
_IGNORED = re.compile(f"[{INVISIBLE}\u200c\u200d\ufe00-\ufe0f]")
_SPACES = re.compile(r"\s+")
_BLANKS = re.compile(r"[^\S\t\n\r\x0b\x0c\x1c-\x1f\x85\u2028\u2029]+")  # not line breaks and tabs: a table refuses them
_PUNCTUATION = str.maketrans(
    dict.fromkeys("\u2018\u2019\u201a\u201b\u02b9\u02bb\u02bc\u02bd\u0060\u00b4\u2032\u2035\uff07", "'")
    | dict.fromkeys("\u201c\u201d\u201e\u201f\u00ab\u00bb\u2033\u2036\uff02", '"')
    | dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d", "-")
)

# Scripts that write words without spaces between them (Hangul has spaces, but particles follow a name at once).
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1100-\u11ff\u3005-\u3007\u3040-\u30ff\u3130-\u318f\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
)


def clean(name: str) -> str:
    """The spelling in which a name is kept: composed letters, plain single spaces, nothing invisible."""
    if not name.isascii():
        name = unicodedata.normalize("NFC", _INVISIBLE.sub("", name))
    return _BLANKS.sub(" ", name).strip(" ")


def fold(text: str) -> str:
    """Equal for two spellings of one name, in the case they have."""
    if not text.isascii():
        text = _IGNORED.sub("", text).translate(_PUNCTUATION)
        text = unicodedata.normalize("NFKC", text).translate(_PUNCTUATION)
    else:
        text = text.replace("`", "'")
    return _SPACES.sub(" ", text).strip()


def fold_case(text: str) -> str:
    return fold(fold(text).casefold())


def skeleton(text: str) -> str:
    """What is left when case, accents and white space do not count."""
    plain = unicodedata.normalize("NFKD", fold_case(text))
    return "".join(letter for letter in plain if not unicodedata.combining(letter) and not letter.isspace())


@functools.cache
def word_pattern() -> tuple[re.Pattern, re.Pattern]:
    """Words of a folded text, where a letter of a script without spaces is one by itself; and a letter, digit or mark
    that goes on a word. Python's \\w leaves out vowel signs of Indian scripts, which are marks."""
    marks, first = [], None
    for code in range(0x300, min(0x1F000, sys.maxunicode)):
        is_mark = unicodedata.category(chr(code)) in ("Mn", "Mc")
        if is_mark and first is None:
            first = code
        elif not is_mark and first is not None:
            marks.append(f"\\U{first:08x}-\\U{code - 1:08x}")
            first = None
    letter, mark = f"[^\\W{UNSPACED}]", f"[{''.join(marks)}]"
    return re.compile(f"[{UNSPACED}]|{letter}+(?:{mark}+{letter}*)*"), re.compile(f"{letter}|{mark}")
