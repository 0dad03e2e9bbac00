"""knapsack/facts/sample.tsv: facts of our own writing, and what must hold of them whoever adds some."""

import os
import re
import unicodedata
import unittest
from collections import Counter, defaultdict

import support

from knapsack.facts.relations import read_relations
from knapsack.facts.table import Fact, read_table

SAMPLE = os.path.join(support.PACKAGE, "facts", "sample.tsv")
CONTINENTS = {"Africa", "Asia", "Europe", "North America", "Oceania", "South America"}
PERIODIC_TABLE = """
    H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr Nb Mo
    Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl
    Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og
"""
LATIN = {  # symbols that do not begin as the English name does
    "sodium": "natrium",
    "potassium": "kalium",
    "iron": "ferrum",
    "copper": "cuprum",
    "silver": "argentum",
    "tin": "stannum",
    "antimony": "stibium",
    "tungsten": "wolfram",
    "gold": "aurum",
    "mercury": "hydrargyrum",
    "lead": "plumbum",
}
WITH_ARTICLE = {  # no template has a 'the' for them
    "Bahamas",
    "Central African Republic",
    "Comoros",
    "Czech Republic",
    "Dominican Republic",
    "Gambia",
    "Maldives",
    "Marshall Islands",
    "Netherlands",
    "Philippines",
    "Solomon Islands",
    "United Arab Emirates",
    "United Kingdom",
    "United States",
}
ROW = r"^\| (P\d+) \|.*\| (\d+) \| (\d+) \|$"
MADE_BY = ("P50", "P57", "P61", "P86", "P170")  # their objects are persons


def plain(text: str) -> str:
    """On a keyboard without accents."""
    text = text.replace("ß", "ss").replace("ł", "l").replace("đ", "d").replace("ø", "o")
    return "".join(letter for letter in unicodedata.normalize("NFD", text) if not unicodedata.combining(letter))


class SampleTest(unittest.TestCase):
    def setUp(self) -> None:
        self.facts = read_table(SAMPLE)
        self.by_relation: dict[str, list[Fact]] = defaultdict(list)
        for fact in self.facts:
            self.by_relation[fact.relation].append(fact)

    def objects(self, relation: str) -> dict[str, str]:
        return {fact.subject: fact.object for fact in self.by_relation[relation]}

    def test_sizes(self) -> None:
        self.assertGreaterEqual(len(self.facts), 500)
        self.assertGreaterEqual(len(self.by_relation), 10)
        for relation, facts in self.by_relation.items():
            self.assertGreaterEqual(len(facts), 30, relation)

    def test_numbers_in_the_description(self) -> None:
        with open(SAMPLE.removesuffix("sample.tsv") + "SAMPLE.md", encoding="utf-8") as file:
            text = file.read()
        self.assertIn(f"\n{len(self.facts):,} facts over {len(self.by_relation)} relations", text)
        told = {name: (int(facts), int(objects)) for name, facts, objects in re.findall(ROW, text, re.M)}
        counts = {name: (len(facts), len(set(self.objects(name).values()))) for name, facts in self.by_relation.items()}
        self.assertEqual(told, counts)

    def test_every_relation_has_templates(self) -> None:
        relations = read_relations()
        for name in self.by_relation:
            relation = relations[name]
            counts = len(relation.seen), len(relation.heldout), len(relation.question)
            self.assertTrue(all(map(int.__ge__, counts, (5, 2, 2))), f"{name}: {counts}")

    def test_subjects(self) -> None:
        for relation, facts in self.by_relation.items():
            self.assertEqual(len({fact.subject.casefold() for fact in facts}), len(facts), relation)
        for fact in self.facts:
            self.assertEqual(fact.id, f"{fact.relation}:{fact.subject}")
            self.assertEqual((fact.also, fact.popularity, fact.web_documents), ((), None, None), fact.id)

    def test_objects(self) -> None:
        """No answer that nearly everybody gives; no other name of one object is another object of the relation."""
        for relation, facts in self.by_relation.items():
            counts = Counter(fact.object for fact in facts)
            (majority, count), *_ = counts.most_common(1)
            self.assertGreaterEqual(len(counts), 2, relation)
            self.assertLess(count, 0.6 * len(facts), f"{relation}: {majority}")
            self.assertEqual(len({name.casefold() for name in counts}), len(counts), relation)
            aliases = defaultdict(set)
            for fact in facts:
                aliases[fact.object].add(fact.aliases)
                self.assertFalse({*fact.aliases} & counts.keys(), fact.id)
            if relation != "P38":  # peso is the Mexican peso in one fact, the Chilean one in another
                self.assertTrue(all(len(names) == 1 for names in aliases.values()), relation)

    def test_texts(self) -> None:
        for fact in self.facts:
            for text in (fact.subject, fact.object, *fact.aliases):
                self.assertNotRegex(text, r"  |^the |[.,;:!?]$|\[|\]", fact.id)
            self.assertNotRegex(fact.subject, rf"\b{re.escape(fact.object)}\b", f"{fact.id} names its object")

    def test_names_without_accents_are_right_too(self) -> None:
        for fact in self.facts:
            self.assertIn(plain(fact.object), (fact.object, *fact.aliases), fact.id)

    def test_no_subject_gives_a_person_away(self) -> None:
        for fact in self.facts:
            if fact.relation in MADE_BY:
                for word in re.findall(r"\w{4,}", plain(fact.object).casefold()):
                    self.assertNotIn(word, plain(fact.subject).casefold(), fact.id)

    def test_no_country_takes_an_article(self) -> None:
        for fact in self.facts:
            self.assertFalse({fact.subject, fact.object} & WITH_ARTICLE, fact.id)

    def test_one_thing_has_one_name(self) -> None:
        """One spelling and the same other names in all relations; these are nothing else's, and no subject's."""
        names, aliases, known = {}, {}, {}
        for fact in self.facts:
            if fact.relation in ("P38", "P246"):  # pesos; symbols such as I and In
                continue
            for name in (fact.subject, fact.object):
                self.assertEqual(names.setdefault(plain(name).casefold(), name), name, fact.id)
            self.assertEqual(aliases.setdefault(fact.object, fact.aliases), fact.aliases, fact.id)
            for alias in fact.aliases:
                self.assertEqual(known.setdefault(plain(alias).casefold(), fact.object), fact.object, fact.id)
        for fact in self.facts:
            for name in (fact.subject, fact.object):
                self.assertEqual(known.get(plain(name).casefold(), name), name, fact.id)

    def test_elements(self) -> None:
        numbers, symbols = self.objects("P1086"), self.objects("P246")
        self.assertEqual(sorted(map(int, numbers.values())), list(range(1, 119)))
        self.assertEqual(symbols.keys(), numbers.keys())
        self.assertEqual(len(set(symbols.values())), 118)
        table = PERIODIC_TABLE.split()
        for name, symbol in symbols.items():
            self.assertEqual(table[int(numbers[name]) - 1], symbol, name)
            first, *second = symbol.casefold()
            long = LATIN.get(name, name)
            self.assertTrue(
                long.startswith(first) and all(letter in long[1:] for letter in second), f"{name}: {symbol}"
            )

    def test_relations_agree(self) -> None:
        """The euro is of Europe, moons circle no moon, no city of P17 is a capital, no river runs in a ring."""
        continents = self.objects("P30")
        self.assertEqual(set(continents.values()), CONTINENTS)
        euro = [country for country, money in self.objects("P38").items() if money == "euro"]
        self.assertLessEqual({continents[country] for country in euro if country in continents}, {"Europe"})
        moons = self.objects("P397")
        self.assertFalse(set(moons) & set(moons.values()))
        capitals = self.objects("P36")
        self.assertEqual(len(set(capitals.values())), len(capitals))
        self.assertFalse(self.objects("P17").keys() & set(capitals.values()), "a capital is asked for by P36")
        mouths = self.objects("P403")
        for river in mouths:
            course = [river]
            while course[-1] in mouths:
                course.append(mouths[course[-1]])
                self.assertEqual(len(set(course)), len(course), course)


if __name__ == "__main__":
    unittest.main()
