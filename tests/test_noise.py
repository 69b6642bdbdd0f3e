"""Noise: slips that look like a person's, and never touch what must stay exact."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.noise import NEIGHBOURS, Noise

NOISE = Noise(rate=0.5)
TEXTS = st.lists(
    st.sampled_from(
        "please use the bigger disk partition it and /dev/nvme0n1p2 format with ext4, don't! no "
        "Europe/Prague 512M o'clock install, everything? yes".split()
    ),
    min_size=1,
    max_size=8,
).map(" ".join)


@given(text=TEXTS, seed=st.integers(), index=st.integers(0, 15))
def test_the_same_arguments_give_the_same_slip(text: str, seed: int, index: int) -> None:
    """A form depends on nothing but its arguments."""
    assert NOISE.form(text, seed, index) == NOISE.form(text, seed, index)


@given(text=TEXTS, seed=st.integers(), index=st.integers(0, 15))
def test_devices_sizes_and_negations_stay(text: str, seed: int, index: int) -> None:
    """Words with a digit or a slash, and no, yes and don't, are in the slipped form as they were."""
    slipped = NOISE.form(text, seed, index)
    for word in text.split():
        if any(letter.isdigit() or letter == "/" for letter in word):
            assert word.strip(",?!") in slipped
    if "yes" in text.split():
        assert "yes" in slipped.lower()


@given(seed=st.integers(), index=st.integers(0, 15))
def test_what_a_slot_filled_stays(seed: int, index: int) -> None:
    """A host name is not misspelt, wherever it stands."""
    assert "workstation" in NOISE.form("please name it workstation", seed, index, ("workstation",))


def test_forms_are_few_and_differ() -> None:
    """At most `pool` distinct forms, none of them the text itself."""
    forms = NOISE.forms("please use the bigger disk", 7)
    assert 8 <= len(forms) <= 16
    assert len(set(forms)) == len(forms)
    assert "please use the bigger disk" not in forms


def test_rate_zero_gives_none() -> None:
    """No noise, no forms."""
    assert dataclasses.replace(NOISE, rate=0).forms("please use the bigger disk", 7) == ()


@pytest.mark.parametrize("way", ["casing", "punctuation", "keys", "letters"])
def test_each_way_alone(way: str) -> None:
    """With one way weighed, only that way is used."""
    off = {"casing": 0.0, "punctuation": 0.0, "keys": 0.0, "letters": 0.0}
    noise = Noise(rate=1.0, slips=1, **{**off, way: 1.0})  # type: ignore[arg-type]
    text = "please use the bigger disk, and format it."
    forms = noise.forms(text, 1)
    assert forms
    for form in forms:
        if way == "casing":
            assert form.lower() == text.lower()
        elif way == "punctuation":
            assert [c for c in form if c.isalpha()] == [c for c in text if c.isalpha()]
        else:
            assert abs(len(form) - len(text)) <= 1
            assert form.lower() != text.lower()


@given(seed=st.integers(), index=st.integers(0, 15))
def test_capitals_leave_devices_and_values(seed: int, index: int) -> None:
    """Casing changes no letter of what must stay exact, whatever the case of the rest."""
    noise = Noise(rate=1.0, casing=1.0, punctuation=0.0, keys=0.0, letters=0.0, slips=2)
    form = noise.form("no, I want /dev/sda1 for anna and a swap", seed, index, ("anna",))
    assert "/dev/sda1" in form and "anna" in form
    assert form.lower() == "no, i want /dev/sda1 for anna and a swap"


def test_whole_wordings_are_shouted_titled_and_left_without_marks() -> None:
    """All in capitals (short words too), Each With One, and without any mark: each is drawn."""
    casing = Noise(rate=1.0, casing=1.0, punctuation=0.0, keys=0.0, letters=0.0, slips=1, pool=64)
    forms = casing.forms("no, I want a swap file.", 3)
    assert {"NO, I WANT A SWAP FILE.", "No, I Want A Swap File."} <= set(forms)
    marks = Noise(rate=1.0, casing=0.0, punctuation=1.0, keys=0.0, letters=0.0, slips=1, pool=64)
    assert "no I want a swap file" in marks.forms("no, I want a swap file.", 3)


def test_neighbours_are_beside_or_below() -> None:
    """g has f and h beside it, and v and b below."""
    assert set(NEIGHBOURS["g"]) == {"f", "h", "v", "b"}
