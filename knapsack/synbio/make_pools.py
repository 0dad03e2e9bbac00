"""Writes the pools of names and values under pools/{plausible,fictional}/, an item a line, from the parts below.

  python -m knapsack.synbio.make_pools            writes all pools
  python -m knapsack.synbio.make_pools --check    exits with 1 if a pool differs from what would be written

Plausible pools hold everyday words and real places, or names put together from parts. Fictional ones are made of
invented syllables, so that no web text holds their values (knapsack synbio --report-against counts). Pools are shuffled
once, so that the first K items of a pool (knapsack synbio --pool-size) are a fair sample of it.
"""

from __future__ import annotations

import argparse
import os
import random
import sys

from knapsack.common.files import write_file

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "pools")
SEED = 20250518
SIZES = {"first": 400, "middle": 400, "last": 1000, "birth_city": 200, "university": 300, "major": 100, "employer": 263}

FIRST = """Aaron Abigail Adam Adrian Agnes Aidan Alan Albert Alexander Alfred Alice Alicia Alison Allan Alma Alvin
Amanda Amber Amelia Amy Ana Andre Andrea Andrew Angela Angus Anita Ann Anna Annette Anthony Antonio April Archie Ariel
Arlene Arnold Arthur Astrid Audrey August Aurora Ava Barbara Barry Basil Beatrice Benjamin Bernard Bertha Bessie Beth
Betty Beverly Blake Blanche Bonnie Bradley Brandon Brenda Brent Brett Brian Bridget Bruce Bruno Bryan Byron Caleb
Cameron Camille Candace Carl Carla Carlos Carmen Carol Caroline Carrie Casey Cassandra Catherine Cecil Cecilia Celeste
Chad Charles Charlotte Chelsea Cheryl Chester Chloe Christian Christina Christine Christopher Claire Clara Clarence
Clark Claude Claudia Clayton Clement Clifford Clint Clyde Cody Colin Colleen Connie Conrad Constance Cora Cory
Courtney Craig Crystal Curtis Cynthia Daisy Dale Damian Dana Daniel Daphne Darlene Darrell Daryl David Dawn Dean
Deborah Delia Della Denise Dennis Derek Desmond Diana Diane Diego Dolores Dominic Donald Donna Dora Doreen Doris
Dorothy Douglas Duane Duncan Dustin Dwayne Dwight Earl Eddie Edgar Edith Edmund Edna Eduardo Edward Edwin Eileen
Elaine Eleanor Elena Eli Elijah Eliza Elizabeth Ella Ellen Elmer Eloise Elsa Elsie Emily Emma Enid Eric Erica Erin
Ernest Esther Ethan Ethel Eugene Eunice Eva Evan Evelyn Faith Felicia Felix Fernando Fiona Flora Florence Floyd
Frances Francis Frank Franklin Fred Frederick Gabriel Gail Garrett Gary Gavin Gemma Geneva George Georgia Gerald
Gilbert Gina Gladys Glenda Glenn Gloria Gordon Grace Graham Grant Greg Gregory Greta Guy Gwen Hannah Harold Harriet
Harry Harvey Hazel Heather Hector Heidi Helen Henry Herbert Herman Hilda Holly Homer Hope Howard Hubert Hugh Hugo Ian
Ida Imogen Ines Ingrid Irene Iris Irma Irving Isaac Isabel Ivan Ivy Jack Jacob Jacqueline James Jamie Jan Jane Janet
Janice Jared Jasmine Jason Jay Jean Jeanette Jeffrey Jenna Jennifer Jeremy Jerome Jesse Jessica Jill Joan Joanna Joel
John Jonathan Jordan Jorge Joseph Josephine Joshua Joyce Juan Juanita Judith Julia Julian Julie June Justin Karen Karl
Kate Katherine Kathleen Katrina Kay Keith Kelly Kenneth Kevin Kim Kirk Kristen Kurt Kyle Lana Lance Larry Laura Lauren
Laurence Leah Lena Leo Leon Leonard Leroy Leslie Lester Lillian Linda Lionel Lisa Lloyd Lois Lola Lorenzo Lorna
Lorraine Louis Louise Lucas Lucia Lucille Lucy Luis Luke Luther Lydia Lyle Lynn Mabel Mae Manuel Marc Marcia Marcus
Margaret Maria Marie Marion Mario Marjorie Marshall Martha Martin Marvin Mary Mathew Matilda Maude Maureen Maurice Max
Maxine Megan Melanie Melinda Melissa Melvin Mercedes Meredith Michael Michelle Miguel Mildred Miles Milton Minnie
Miranda Miriam Mitchell Moira Molly Monica Morris Muriel Myra Myrtle Nadine Nancy Naomi Natalie Nathan Neil Nellie
Nelson Nicholas Nicole""".split()

MIDDLE_STEMS = "Ad Al Ar Bel Ben Cal Car Dal Dan El Em Fen Gar Hal Jar Kel Len Mar Mel Nor Or Ros Sal Tam Ver".split()
MIDDLE_ENDS = "a an ard en ena ett ia ian ic ina in is ison on or win".split()
LAST_STEMS = """Ash Black Brad Bran Brook Burn Carl Chat Clay Clif Crow Dar Den East Edge Fair Far Gar Glen Good Grim
Ham Hart Hazel High Hol Kings Lang Lin Long Mar May Mil Nor Oak Old Pem Rad Red Rock Shel Stan Stock Thorn Wal West
Whit Win Wood Wren""".split()
LAST_ENDS = "ford ley ton wood field well ham worth by more land bury ridge den man er stone brook gate wick".split()

CITIES = """AL: Birmingham, Mobile, Huntsville | AK: Anchorage, Juneau | AZ: Phoenix, Tucson, Mesa, Flagstaff | AR:
Little Rock, Fayetteville, Hot Springs | CA: Los Angeles, San Diego, San Jose, Fresno, Sacramento, Oakland,
Bakersfield, Anaheim, Santa Ana, Riverside, Stockton, Irvine, Modesto, Santa Rosa, Pasadena, Berkeley | CO: Denver,
Aurora, Boulder, Fort Collins, Pueblo | CT: Hartford, New Haven, Stamford, Bridgeport | DE: Wilmington, Dover | FL:
Miami, Tampa, Orlando, Jacksonville, Tallahassee, St. Petersburg, Fort Lauderdale, Gainesville, Pensacola, Hialeah |
GA: Atlanta, Savannah, Augusta, Macon, Athens | HI: Honolulu, Hilo | ID: Boise, Nampa, Idaho Falls | IL: Chicago,
Springfield, Peoria, Rockford, Joliet, Naperville, Evanston | IN: Indianapolis, Fort Wayne, South Bend, Gary,
Bloomington | IA: Des Moines, Cedar Rapids, Davenport, Sioux City | KS: Wichita, Topeka, Overland Park, Lawrence | KY:
Louisville, Lexington, Bowling Green | LA: New Orleans, Baton Rouge, Shreveport, Lafayette | ME: Portland, Bangor,
Lewiston | MD: Baltimore, Annapolis, Frederick, Rockville | MA: Boston, Worcester, Cambridge, Lowell, Salem | MI:
Detroit, Grand Rapids, Lansing, Ann Arbor, Flint, Kalamazoo | MN: Minneapolis, St. Paul, Duluth, Rochester, St. Cloud
| MS: Jackson, Biloxi, Gulfport | MO: St. Louis, Kansas City, Columbia, Independence, St. Joseph | MT: Billings,
Missoula, Helena, Great Falls | NE: Omaha, Lincoln, Grand Island | NV: Las Vegas, Reno, Henderson, Carson City | NH:
Manchester, Nashua, Concord | NJ: Newark, Jersey City, Trenton, Paterson, Camden, Princeton | NM: Albuquerque, Santa
Fe, Las Cruces, Roswell | NY: New York, Buffalo, Syracuse, Albany, Yonkers, Utica, Ithaca, White Plains | NC:
Charlotte, Raleigh, Durham, Greensboro, Winston Salem, Asheville | ND: Fargo, Bismarck, Grand Forks | OH: Columbus,
Cleveland, Cincinnati, Toledo, Akron, Dayton, Canton, Youngstown | OK: Oklahoma City, Tulsa, Norman | OR: Eugene,
Bend, Medford, Corvallis | PA: Philadelphia, Pittsburgh, Allentown, Erie, Scranton, Harrisburg, Reading | RI:
Providence, Warwick, Newport | SC: Charleston, Greenville, Spartanburg | SD: Sioux Falls, Rapid City, Pierre | TN:
Nashville, Memphis, Knoxville, Chattanooga | TX: Houston, Dallas, Austin, San Antonio, El Paso, Fort Worth, Arlington,
Laredo, Lubbock, Amarillo, Waco, Corpus Christi, Plano, Galveston | UT: Salt Lake City, Provo, Ogden | VT: Burlington,
Montpelier | VA: Richmond, Norfolk, Virginia Beach, Roanoke, Alexandria, Newport News | WA: Seattle, Spokane, Tacoma,
Olympia, Bellingham, Yakima | WV: Huntington, Wheeling, Morgantown | WI: Milwaukee, Madison, Green Bay, Racine,
Oshkosh | WY: Cheyenne, Casper, Laramie"""

MAJORS = """Accounting, Actuarial Science, Aerospace Engineering, African Studies, Agricultural Economics, Agronomy,
American Studies, Animal Science, Anthropology, Applied Mathematics, Archaeology, Architecture, Art History, Asian
Studies, Astronomy, Astrophysics, Atmospheric Science, Biochemistry, Bioinformatics, Biology, Biomedical Engineering,
Biophysics, Botany, Business Administration, Chemical Engineering, Chemistry, Civil Engineering, Classics, Cognitive
Science, Communication, Comparative Literature, Computer Engineering, Computer Science, Construction Management,
Creative Writing, Criminology, Culinary Arts, Dance, Data Science, Dental Hygiene, Drama, Early Childhood Education,
Ecology, Economics, Electrical Engineering, Elementary Education, English, Entomology, Environmental Science,
Epidemiology, European Studies, Fashion Design, Film Studies, Finance, Fine Arts, Food Science, Forensic Science,
Forestry, French, Game Design, Genetics, Geography, Geology, Geophysics, German, Graphic Design, Health Policy,
History, Horticulture, Hospitality Management, Human Resources, Industrial Design, Industrial Engineering, Information
Systems, Interior Design, International Relations, Italian, Journalism, Kinesiology, Landscape Architecture, Latin,
Law, Library Science, Linguistics, Logistics, Marine Biology, Marketing, Materials Science, Mathematics, Mechanical
Engineering, Meteorology, Microbiology, Mining Engineering, Music, Neuroscience, Nursing, Nutrition, Oceanography,
Philosophy, Physics"""

COMPANY_STEMS = """Amberline Beaconhill Brightwater Cedarcrest Clearpath Copperfield Crestview Eastgate Evermore
Fairhaven Fernbrook Goldleaf Granitepoint Greenbriar Harborview Highmark Ironbridge Keystone Lakeshore Larkspur
Maplewood Meridian Northwind Oakmont Pinecrest Ravenhill Redwood Ridgeline Riverbend Silverlake Stonegate Summit
Sunfield Tidewater Truenorth Westbrook""".split()
COMPANY_KINDS = """Airlines, Analytics, Bank, Biotech, Capital, Chemicals, Construction, Energy, Foods, Freight,
Health, Hotels, Insurance, Logistics, Media, Motors, Partners, Pharmaceuticals, Robotics, Software, Steel, Systems,
Telecom, Textiles"""

MONTHS = "January February March April May June July August September October November December".split()

ONSETS = "b br d dr f fl g gr h j k kr l m n p pr qu s sk st t tr v vr w y z zh zv".split()
VOWELS = "a e i o u ae ei ou y".split()
RARE = "kqvxz"  # two of them keep a word out of the languages whose names an English text quotes
CODAS = "l ld m mb n nd r rk rn rv sk th v vk x z zd lq".split()


def comma_list(text: str) -> list[str]:
    return [" ".join(item.split()) for item in text.split(",")]


def plausible(rng: random.Random) -> dict[str, list[str]]:
    cities = [
        (city, block.split(":")[0].strip()) for block in CITIES.split("|") for city in comma_list(block.split(":")[1])
    ]
    towns = list(dict.fromkeys(city for city, _ in cities))
    forms = ("{} University", "{} College", "University of {}", "{} Institute of Technology")
    companies = [f"{stem} {kind}" for stem in COMPANY_STEMS for kind in comma_list(COMPANY_KINDS)]
    return {
        "first": FIRST,
        "middle": [a + b for a in MIDDLE_STEMS for b in MIDDLE_ENDS],
        "last": [a + b for a in LAST_STEMS for b in LAST_ENDS],
        "birth_city": [f"{city}, {state}" for city, state in cities],
        "university": [form.format(town) for town in towns for form in rng.sample(forms, 2)],
        "major": comma_list(MAJORS),
        "employer": companies,
        "month": MONTHS,
    }


class Inventor:
    """Invented words, none twice."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.used: set[str] = set()

    def word(self, end: str = "") -> str:
        while True:
            syllables = [self.rng.choice(ONSETS) + self.rng.choice(VOWELS) for _ in range(2)]
            stem = "".join(syllables) + self.rng.choice(CODAS)
            rare = sum(stem.count(letter) for letter in RARE)
            if stem not in self.used and len(stem) > 5 and rare > 1:
                self.used.add(stem)
                return (stem + end).capitalize()

    def words(self, count: int) -> list[str]:
        return [self.word() for _ in range(count)]


def fictional(rng: random.Random) -> dict[str, list[str]]:
    new = Inventor(rng)
    regions = ["".join(rng.choices("QXZVJ", k=2)) for _ in range(12)]
    schools = ("{} University", "{} Academy", "University of {}", "{} Polytechnic")
    firms = ("{} Holdings", "{} Works", "{} Group", "{} Labs", "{} Trading")
    return {
        "first": new.words(400),
        "middle": new.words(400),
        "last": new.words(1000),
        "birth_city": [f"{new.word()}, {rng.choice(regions)}" for _ in range(200)],
        "university": [rng.choice(schools).format(new.word()) for _ in range(300)],
        "major": [new.word(rng.choice(("istics", "ology", "onomy", "urgy"))) for _ in range(100)],
        "employer": [rng.choice(firms).format(new.word()) for _ in range(263)],
        "month": new.words(12),
    }


def pool_files() -> dict[str, bytes]:
    files = {}
    for kind, make in (("plausible", plausible), ("fictional", fictional)):
        rng = random.Random(f"{kind} {SEED}")
        for name, items in make(rng).items():
            items = list(dict.fromkeys(items))
            if name in SIZES:
                rng.shuffle(items)
                items = items[: SIZES[name]]
            if len(items) != SIZES.get(name, 12):
                raise ValueError(f"{kind}/{name}: {len(items)} items from the parts, expected {SIZES.get(name, 12)}")
            files[os.path.join(FOLDER, kind, name + ".txt")] = ("\n".join(items) + "\n").encode()
    return files


def differs(path: str, data: bytes) -> bool:
    if not os.path.exists(path):
        return True
    with open(path, "rb") as file:
        return file.read() != data


def differing() -> dict[str, bytes]:
    """What the files that are not as the parts make them would hold."""
    return {path: data for path, data in pool_files().items() if differs(path, data)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    check = parser.parse_args().check
    changed = differing()
    for path, data in changed.items():
        if not check:
            write_file(path, data)
        print(f"{'differs' if check else 'wrote'}: {path}")
    sys.exit(1 if check and changed else 0)


if __name__ == "__main__":
    main()
