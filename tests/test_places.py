"""Languages, countries and cities as settings. Expected values: the tz database, glibc, kbd; by hand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.installer import places
from llmkit.installer.zones import ZONES, exists

CONF = {  # a sample of conf/timezones and conf/locale by hand, in words of other people
    "i live near zürich": "Europe/Zurich",
    "turkey tz": "Europe/Istanbul",
    "use the time of Ukraine": "Europe/Kyiv",
    "we're in lviv": "Europe/Kyiv",
    "time zone: new york": "America/New_York",
    "Mumbai": "Asia/Kolkata",
    "IN BRITISH COLUMBIA": "America/Vancouver",
    "south korea": "Asia/Seoul",
    "portugal": "Europe/Lisbon",
    "the clock of Vienna": "Europe/Vienna",
    "amsterdm": "Europe/Amsterdam",
}


@pytest.mark.parametrize(("said", "zone"), CONF.items())
def test_a_place_has_its_zone(said: str, zone: str) -> None:
    """Cities and countries, written as people do, with one slip in a long name."""
    assert zone in places.zones(said)


@pytest.mark.parametrize(
    "said",
    ["finish it", "yes", "the same for texts and keys", "queensland", "polish the config", "go north",
     "is it on the disk?", "march", "mount it there", "the other one, please", "no, us"],
)  # fmt: skip
def test_words_are_no_places(said: str) -> None:
    """Nothing is made of a word that is none: no zone is objected to for it."""
    assert not places.zones(said)


@pytest.mark.parametrize(
    ("said", "fits", "not_", "best"),
    [
        ("ukrainian", "uk_UA", "hu_HU", ("uk_UA",)),
        ("swiss german please", "de_CH", "de_DE", ("de_CH",)),
        ("german", "de_AT", "nl_NL", ("de_DE",)),
        ("for brazil, portuguese", "pt_BR", "pt_PT", ("pt_BR",)),
        ("british english", "en_GB", "en_US", ("en_GB",)),
        ("everything in türkçe", "tr_TR", "de_DE", ("tr_TR",)),
        ("set it up for austria", "de_AT", "fr_FR", ("de_AT",)),
        ("german keyboard but english language", "en_US", "fr_FR", ("de_DE", "en_US")),
    ],
)
def test_a_language_has_its_locales(said: str, fits: str, not_: str, best: tuple[str, ...]) -> None:
    """By the countries in which it is spoken; a country that is named with it counts."""
    wanted = places.locales(said)
    assert wanted.fits(fits) and wanted.fits(f"{fits}.UTF-8") and not wanted.fits(not_)
    assert wanted.best() == best


def test_nothing_named_fits_everything() -> None:
    """No language and no country: no locale is wrong."""
    wanted = places.locales("yes, please")
    assert not wanted and wanted.fits("hu_HU") and wanted.best() == () and wanted.keymaps() == ()


def test_every_zone_of_the_tables_exists() -> None:
    """A zone that is proposed is one of the tz database."""
    cities, countries, times = places._zone_tables()
    for found in (*cities.values(), *countries.values(), set(times.values())):
        assert found and all(exists(zone) for zone in found)


def test_every_locale_of_the_tables_is_one() -> None:
    """Of glibc's list, where this machine has it."""
    _names, where, keymaps = places._tables()
    made = {f"{code}_{country}" for code, countries in where.items() for country in countries[:1]}
    assert all(re.fullmatch(r"[a-z]{2}_[A-Z]{2}", one) for one in made)
    assert all(keymaps[code] for code in where)
    supported = Path("/usr/share/i18n/SUPPORTED")
    if not supported.exists():
        pytest.skip("no list of glibc's locales here")
    text = supported.read_text(encoding="utf-8")
    known = {line.partition(".")[0].split()[0] for line in text.splitlines() if line.strip()}
    assert made <= known


@given(st.sampled_from(sorted(zone for zone in ZONES if zone.count("/") == 1)))
def test_a_city_is_found_by_its_name(zone: str) -> None:
    """What names a zone leads to it, unless it is a word of its own."""
    area, _, city = zone.partition("/")
    if area in places._NO_CITY or city.lower() in places._NO_NAMES or "-" in city:
        return
    name = city.replace("_", " ")
    if all(word.isalpha() for word in name.split()) and len(name.split()) < 4:
        assert zone in places.zones(f"set the time of {name}")


@given(st.text(max_size=80))
def test_any_text_may_be_read(text: str) -> None:
    """No text is too odd."""
    wanted = places.locales(text)
    assert all(wanted.fits(one) for one in wanted.best())
    assert all(exists(zone) for zone in places.zones(text))
