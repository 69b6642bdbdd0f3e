"""What a language, a country or a city is in settings: locales, keymaps of the console, time zones.

    >>> zones("i live near zürich")
    frozenset({'Europe/Zurich'})
    >>> locales("swiss german please").fits("de_DE"), locales("ukrainian").fits("uk_UA")
    (False, True)

A person says "turkish" and a small model writes hu_HU; only a table tells. It has the languages of the
world's glibc locales that people install in, the countries, and every city that names a zone. A word of
six letters or more is known with one slip. What is in no table says nothing.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from llmkit.installer import review_words as say
from llmkit.installer.zones import ZONES

# code: names; countries, the commonest first; keymaps, the commonest first (* stands for any ending)
_LANGUAGES = """
en: english; US GB AU CA IE NZ ZA IN SG HK NG; us uk us-* dvorak* colemak*
de: german deutsch; DE AT CH LU BE LI IT; de-latin1 de de_CH-latin1 sg-latin1 sg de* neo*
fr: french français francais; FR CH BE CA LU; fr-latin1 fr fr_CH-latin1 be-latin1 cf fr* bepo azerty
nl: dutch nederlands flemish; NL BE; us nl be-latin1 nl*
es: spanish español espanol castellano; ES MX AR CL CO PE VE UY EC BO PY CR PA GT CU DO US; es la-latin1 es*
ca: catalan català catala; ES AD FR IT; es es*
gl: galician galego; ES; es es*
eu: basque euskara; ES FR; es es*
it: italian italiano; IT CH; it it2 it*
pt: portuguese português portugues; PT BR; pt-latin1 br-abnt2 pt* br*
cs: czech čeština cestina; CZ; cz-qwertz cz cz*
sk: slovak slovenčina slovencina; SK; sk-qwertz sk*
pl: polish polski; PL; pl2 pl pl*
hu: hungarian magyar; HU; hu hu101 hu*
sl: slovenian slovene slovenščina; SI; slovene
hr: croatian hrvatski; HR; croat
sr: serbian srpski; RS ME; sr-cy sr* croat
bs: bosnian bosanski; BA; croat
mk: macedonian; MK; mk mk*
sq: albanian shqip; AL XK MK; us
ro: romanian română romana; RO; ro ro*
bg: bulgarian; BG; bg_bds-utf8 bg_pho-utf8 bg*
el: greek ελληνικά; GR CY; gr gr*
tr: turkish türkçe turkce; TR CY; trq trf tr*
uk: ukrainian; UA; ua-utf ua*
ru: russian; RU UA; ru ru*
be: belarusian belarussian; BY; by by*
kk: kazakh; KZ; kazakh
lt: lithuanian; LT; lt lt*
lv: latvian; LV; lv lv*
et: estonian eesti; EE; et et*
fi: finnish suomi; FI; fi fi*
sv: swedish svenska; SE FI; sv-latin1 sv* se* fi
da: danish dansk; DK; dk-latin1 dk dk*
nb: norwegian norsk bokmål bokmal; NO; no-latin1 no no*
nn: nynorsk; NO; no-latin1 no no*
is: icelandic íslenska; IS; is-latin1 is*
ga: irish gaeilge; IE; uk ie
cy: welsh cymraeg; GB; uk
he: hebrew; IL; il il*
ar: arabic; EG SA AE MA DZ TN IQ JO LB SY KW QA; us
fa: persian farsi; IR; us
hi: hindi; IN; us
bn: bengali bangla; BD IN; us
ta: tamil; IN LK; us
ur: urdu; PK IN; us
th: thai; TH; us th*
vi: vietnamese; VN; us
id: indonesian; ID; us
ms: malay; MY; us
tl: tagalog filipino; PH; us
zh: chinese mandarin; CN TW HK SG; us
ja: japanese 日本語; JP; jp106 jp*
ko: korean; KR; us
ka: georgian; GE; us
hy: armenian; AM; us
sw: swahili; KE TZ; us
af: afrikaans; ZA; us
"""
# code: names and adjectives (_ for a blank); zones, the capital's first; languages
_COUNTRIES = """
US: usa united_states america american us_english; America/*; en es
GB: uk united_kingdom britain great_britain british england scotland wales; Europe/London; en
AU: australia australian; Australia/*; en
CA: canada canadian; America/*; en fr
IE: ireland; Europe/Dublin; en ga
NZ: new_zealand; Pacific/Auckland Pacific/Chatham; en
ZA: south_africa south_african; Africa/Johannesburg; en af
DE: germany; Europe/Berlin; de
AT: austria austrian; Europe/Vienna; de
CH: switzerland swiss; Europe/Zurich; de fr it
LI: liechtenstein; Europe/Vaduz Europe/Zurich; de
LU: luxembourg luxembourgish; Europe/Luxembourg; fr de
FR: france; Europe/Paris; fr
BE: belgium belgian flanders; Europe/Brussels; nl fr de
NL: netherlands holland; Europe/Amsterdam; nl
ES: spain; Europe/Madrid Atlantic/Canary Africa/Ceuta; es ca gl eu
MX: mexico mexican; America/*; es
AR: argentina argentine argentinian; America/Argentina/* America/Buenos_Aires; es
CL: chile chilean; America/Santiago America/Punta_Arenas Pacific/Easter America/Coyhaique; es
CO: colombia colombian; America/Bogota; es
PE: peru peruvian; America/Lima; es
VE: venezuela venezuelan; America/Caracas; es
UY: uruguay uruguayan; America/Montevideo; es
EC: ecuador; America/Guayaquil Pacific/Galapagos; es
BO: bolivia; America/La_Paz; es
PY: paraguay; America/Asuncion; es
CU: cuba; America/Havana Cuba; es
IT: italy; Europe/Rome; it
PT: portugal; Europe/Lisbon Atlantic/Madeira Atlantic/Azores Portugal; pt
BR: brazil brazilian; America/* Brazil/*; pt
CZ: czechia czech_republic; Europe/Prague; cs
SK: slovakia; Europe/Bratislava; sk
PL: poland; Europe/Warsaw Poland; pl
HU: hungary; Europe/Budapest; hu
SI: slovenia; Europe/Ljubljana; sl
HR: croatia; Europe/Zagreb; hr
RS: serbia; Europe/Belgrade; sr
BA: bosnia; Europe/Sarajevo; bs hr sr
ME: montenegro; Europe/Podgorica; sr
MK: macedonia; Europe/Skopje; mk
AL: albania; Europe/Tirane; sq
RO: romania; Europe/Bucharest; ro
BG: bulgaria; Europe/Sofia; bg
GR: greece; Europe/Athens; el
TR: turkey türkiye turkiye; Europe/Istanbul Asia/Istanbul Turkey; tr
UA: ukraine; Europe/Kyiv Europe/Kiev; uk ru
RU: russia; Europe/* Asia/*; ru
BY: belarus; Europe/Minsk; be ru
MD: moldova; Europe/Chisinau; ro
LT: lithuania; Europe/Vilnius; lt
LV: latvia; Europe/Riga; lv
EE: estonia; Europe/Tallinn; et
FI: finland; Europe/Helsinki; fi sv
SE: sweden; Europe/Stockholm; sv
DK: denmark; Europe/Copenhagen; da
NO: norway; Europe/Oslo; nb nn
IS: iceland; Atlantic/Reykjavik Iceland; is
MT: malta maltese; Europe/Malta; en
CY: cyprus; Asia/Nicosia Europe/Nicosia; el tr
IL: israel; Asia/Jerusalem Asia/Tel_Aviv Israel; he ar
EG: egypt; Africa/Cairo Egypt; ar
SA: saudi_arabia saudi; Asia/Riyadh; ar
AE: emirates uae; Asia/Dubai; ar
QA: qatar; Asia/Qatar; ar
KW: kuwait; Asia/Kuwait; ar
IQ: iraq; Asia/Baghdad; ar
IR: iran; Asia/Tehran Iran; fa
JO: jordan; Asia/Amman; ar
LB: lebanon; Asia/Beirut; ar
MA: morocco; Africa/Casablanca; ar fr
DZ: algeria; Africa/Algiers; ar fr
TN: tunisia; Africa/Tunis; ar fr
NG: nigeria; Africa/Lagos; en
KE: kenya; Africa/Nairobi; en sw
TZ: tanzania; Africa/Dar_es_Salaam; sw en
UG: uganda; Africa/Kampala; en
GH: ghana; Africa/Accra; en
ET: ethiopia; Africa/Addis_Ababa; am
SN: senegal; Africa/Dakar; fr
IN: india indian; Asia/Kolkata Asia/Calcutta; hi en ta bn ur
PK: pakistan; Asia/Karachi; ur en
BD: bangladesh; Asia/Dhaka; bn
LK: sri_lanka; Asia/Colombo; ta si
NP: nepal; Asia/Kathmandu Asia/Katmandu; ne
TH: thailand; Asia/Bangkok; th
VN: vietnam; Asia/Ho_Chi_Minh Asia/Saigon; vi
ID: indonesia; Asia/Jakarta Asia/Makassar Asia/Jayapura Asia/Pontianak; id
MY: malaysia; Asia/Kuala_Lumpur Asia/Kuching; ms en
PH: philippines; Asia/Manila; tl en
SG: singapore; Asia/Singapore Singapore; en zh
CN: china mainland_chinese simplified_chinese; Asia/Shanghai Asia/Urumqi Asia/Chongqing PRC; zh
TW: taiwan taiwanese traditional_chinese; Asia/Taipei ROC; zh
HK: hong_kong; Asia/Hong_Kong Hongkong; zh en
JP: japan; Asia/Tokyo Japan; ja
KR: korea south_korea; Asia/Seoul ROK; ko
KZ: kazakhstan; Asia/*; kk ru
GE: georgia; Asia/Tbilisi America/New_York; ka
AM: armenia; Asia/Yerevan; hy
AZ: azerbaijan; Asia/Baku; az
UZ: uzbekistan; Asia/Tashkent Asia/Samarkand; uz
"""
_CITIES = (  # more than those that name a zone themselves
    "Europe/Berlin munich münchen munchen hamburg cologne köln frankfurt stuttgart dresden leipzig; "
    "Europe/Zurich zürich geneva basel bern berne lausanne; Europe/Vienna wien graz salzburg; "
    "Europe/Paris lyon marseille toulouse bordeaux strasbourg; Europe/London manchester birmingham "
    "edinburgh glasgow liverpool; Europe/Madrid barcelona valencia sevilla seville; "
    "Europe/Rome roma milan milano turin naples napoli florence bologna; "
    "Europe/Lisbon lisboa porto; Europe/Amsterdam rotterdam utrecht eindhoven; "
    "Europe/Brussels antwerp ghent; Europe/Prague praha brno; Europe/Warsaw warszawa krakow gdansk "
    "wroclaw poznan; Europe/Kyiv kiev lviv odesa odessa kharkiv; Europe/Istanbul ankara izmir; "
    "Europe/Stockholm gothenburg malmo malmö; Europe/Oslo bergen; Europe/Copenhagen københavn aarhus; "
    "Europe/Bucharest cluj; Europe/Moscow petersburg; Asia/Kolkata mumbai delhi bangalore bengaluru "
    "chennai hyderabad pune calcutta; Asia/Ho_Chi_Minh saigon hanoi; Asia/Shanghai beijing shenzhen; "
    "Asia/Tokyo osaka kyoto; America/Los_Angeles california seattle san_francisco san_diego portland; "
    "America/Vancouver british_columbia; America/New_York boston philadelphia washington miami atlanta; "
    "America/Chicago houston dallas austin texas; America/Toronto ottawa montreal quebec; "
    "Africa/Johannesburg cape_town pretoria; America/Sao_Paulo rio_de_janeiro brasilia"
)
_SAME = (
    "kolkata calcutta; ho_chi_minh saigon; kathmandu katmandu; kyiv kiev; yangon rangoon; nuuk godthab; "
    "jerusalem tel_aviv; toronto montreal; shanghai chongqing"
)
OLD = frozenset(  # names that the tz database keeps for the sake of older systems
    "Europe/Kiev Asia/Istanbul Europe/Nicosia Asia/Calcutta Asia/Saigon Asia/Katmandu Asia/Rangoon "
    "Asia/Tel_Aviv Asia/Chongqing America/Montreal America/Godthab America/Buenos_Aires America/Indianapolis "
    "America/Louisville Europe/Belfast".split()
)
_TIMES = {"german": "Europe/Berlin", "british": "Europe/London", "french": "Europe/Paris",
          "japanese": "Asia/Tokyo", "chinese": "Asia/Shanghai"}  # fmt: skip
_WORD = re.compile(r"[^\W\d_][^\W_]*", re.UNICODE)
_LOCALE = re.compile(r"\b([a-z]{2,3})_([A-Z]{2})\b")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Languages and countries that a text names, by their codes."""

    languages: frozenset[str]
    countries: frozenset[str]

    def __bool__(self) -> bool:
        return bool(self.languages or self.countries)

    def fits(self, locale: str) -> bool:
        """Whether a locale (`de_CH`, with an encoding or not) is one of these; True where none is named."""
        found = _LOCALE.match(locale)
        if not self or found is None:
            return True
        language, country = found[1], found[2]
        spoken = {code for name in self.countries for code in _spoken()[name]}
        if self.languages:
            where = self.countries & set(_tables()[1].get(language, ()))
            return language in self.languages and (not where or country in where)
        return country in self.countries or language in spoken

    def best(self) -> tuple[str, ...]:
        """The locales that are meant, the commonest first."""
        found = []
        for language in sorted(self.languages) or sorted(
            {_spoken()[name][0] for name in self.countries if _spoken()[name]}
        ):
            where = _tables()[1].get(language, ())
            near = [country for country in where if country in self.countries]
            found += [f"{language}_{country}" for country in (near or where[:1])]
        return tuple(found)

    def keymaps(self) -> tuple[str, ...]:
        """The keymaps that fit, the commonest first; `*` stands for any ending."""
        codes = sorted(self.languages) or sorted(
            {code for name in self.countries for code in _spoken()[name]}
        )
        return tuple(dict.fromkeys(one for code in codes for one in _tables()[2].get(code, ())))


def locales(text: str) -> Wanted:
    """The languages and countries that a text names."""
    names, _, _ = _tables()
    heard = set(_heard(text, _known("settings")))
    languages = {names[name][1:] for name in heard if names[name][0] == "L"}
    countries = {names[name][1:] for name in heard if names[name][0] == "C"}
    return Wanted(frozenset(languages), frozenset(countries))


def zones(text: str) -> frozenset[str]:
    """The time zones of the cities that a text names, else of the countries; empty where it names none."""
    cities, countries, times = _zone_tables()
    heard = set(_heard(text, _known("cities")))
    if heard:
        return frozenset(zone for name in heard for zone in cities[name])
    heard = set(_heard(text, _known("countries")))
    found = {zone for name in heard for zone in countries[name]}
    found |= {times[name] for name in times if f"{name} time" in text.lower()}
    return frozenset(found)


def _heard(text: str, names: frozenset[str]) -> Iterator[str]:
    """The names that stand in a text, in words of up to three; one slip is forgiven in long ones. The
    longest name at a place counts: "south korea" is not "korea", "swiss german" is two."""
    words = list(_WORD.findall(_plain(text)))
    near = _by_length(names)
    at = 0
    while at < len(words):
        for many in (3, 2, 1):
            name = "_".join(words[at : at + many])
            if len(words) - at >= many and name in names:
                yield name
                at += many
                break
        else:
            word = words[at]
            if len(word) > 5 and word not in _NO_PLACE and word not in _tables()[0]:
                close = [
                    name for size in (-1, 0, 1) for name in near.get(len(word) + size, ())
                    if say.near(word, name, 6)
                ]  # fmt: skip
                if len(close) == 1:
                    yield close[0]
            at += 1


_NO_PLACE = frozenset("indiana finish finished polished publish there where french's".split())


@lru_cache(maxsize=16)
def _by_length(names: frozenset[str]) -> dict[int, tuple[str, ...]]:
    found: dict[int, list[str]] = {}
    for name in names:
        if len(name) > 5 and "_" not in name:
            found.setdefault(len(name), []).append(name)
    return {size: tuple(sorted(some)) for size, some in found.items()}


def _plain(text: str) -> str:
    return unicodedata.normalize("NFC", text).lower().replace("'s", " ").replace("’s", " ")


@lru_cache(maxsize=1)
def _tables() -> tuple[dict[str, str], dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]]:
    """Names (L or C and a code), countries of languages, keymaps of languages."""
    names: dict[str, str] = {}
    where: dict[str, tuple[str, ...]] = {}
    keys: dict[str, tuple[str, ...]] = {}
    for code, said, countries, keymaps in _rows(_LANGUAGES):
        names |= dict.fromkeys(said, f"L{code}")
        where[code], keys[code] = countries, keymaps
    for code, said, _, _ in _rows(_COUNTRIES):
        names |= {name: f"C{code}" for name in said if name not in names}
    return names, where, keys


@lru_cache(maxsize=3)
def _known(what: str) -> frozenset[str]:
    """The names of languages and countries (settings), cities, or countries."""
    cities, countries, _ = _zone_tables()
    known = {"settings": set(_tables()[0]), "cities": set(cities), "countries": set(countries)}
    return frozenset(known[what])


@lru_cache(maxsize=1)
def _spoken() -> dict[str, tuple[str, ...]]:
    """The languages of a country."""
    return {code: languages for code, _, _, languages in _rows(_COUNTRIES)}


@lru_cache(maxsize=1)
def _zone_tables() -> tuple[dict[str, set[str]], dict[str, set[str]], dict[str, str]]:
    """Zones of cities and of countries."""
    cities: dict[str, set[str]] = {}
    for zone in ZONES:
        area, slash, place = zone.rpartition("/")
        if slash and area.partition("/")[0] not in _NO_CITY:
            cities.setdefault(place.lower(), set()).add(zone)
    for row in _CITIES.split("; "):
        zone, *others = row.split()
        for name in others:
            cities.setdefault(name, set()).add(zone)
    for row in _SAME.split("; "):  # one place, two names of its zone
        same = {zone for name in row.split() for zone in cities[name]}
        for name in row.split():
            cities[name] = same
    for name in _NO_NAMES:
        cities.pop(name, None)
    countries: dict[str, set[str]] = {}
    for _, said, given, _ in _rows(_COUNTRIES):
        found = {
            zone for pattern in given for zone in ZONES
            if zone == pattern or pattern.endswith("*") and zone.startswith(pattern[:-1])
        }  # fmt: skip
        countries |= dict.fromkeys(said, found)
    for name in countries:  # Singapore, Luxembourg
        if name in cities:
            cities[name] = cities[name] | countries[name]
    return cities, countries, _TIMES


_NO_CITY = ("US", "Canada", "Brazil", "Chile", "Mexico", "Etc")
_NO_NAMES = (  # words that mean something else
    "north south west east center central wake easter midway troll davis casey male resolute nome "
    "queensland tasmania nsw act boise mayo metlakatla creston oral chita gaza victoria jersey "
    "christmas cocos reunion"
).split()


def _rows(table: str) -> Iterator[tuple[str, tuple[str, ...], tuple[str, ...], tuple[str, ...]]]:
    for row in table.strip().splitlines():
        code, _, rest = row.partition(": ")
        said, one, other = (tuple(part.split()) for part in rest.split("; "))
        yield code, said, one, other
