"""Wording: slips and capitals are taken back, and nothing that must stay exact is touched."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.wording import WORDS, Wording, read_wording, said, words_of, write_wording

PHRASES = (
    "format the second disk", "mount the root partition please", "show me the system's partitions",
    "I don't want that, what is on the Samsung disk?", "the EFI partition is first", "list the users",
    "please copy it there", "set the hostname", "is the system done yet", "run lsblk", "and findmnt",
)  # fmt: skip
NAMES = tuple(
    (f"call it {name}", f"echo {name} > /mnt/etc/hostname") for name in ("falcon", "nebula")
)
SAID = [
    (f"{phrase}{' ' * extra}", "") for phrase in PHRASES for extra in range(8)
]  # different messages
WORDING = Wording.of(
    [*SAID, *((f"{text}{' ' * n}", line) for text, line in NAMES for n in range(8))]
)
COMMON = sorted({word for phrase in PHRASES for word in re.findall(r"[a-z]{5,}", phrase)})


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("format the secodn disk", "format the second disk"),  # two letters swapped
        ("moutn teh root prtition", "mount teh root partition"),  # short words stay
        ("plesae copy it", "please copy it"),
        ("FORMAT THE SECOND DISK", "format the second disk"),
        ("Format The Second Disk", "Format the second disk"),
        ("Format the second disk", "Format the second disk"),  # a capital at the beginning
        ("THE EFI PARTITION, PLEASE!", "the EFI partition, please!"),  # as the data writes it
        ("the SAMSUNG disk", "the Samsung disk"),
        ("i dont want it", "i don't want it"),
        ("run lsbkl", "run lsblk"),
        ("run lsbld", "run lsbld"),  # a program is no slip of another one
        ("call it falkon", "call it falkon"),  # nothing becomes a name
        ("CALL IT FALKON", "call it falkon"),
        ("add user Theo", "add user Theo"),
        ("it is a mountain", "it is a mountain"),
        ("the grub menu", "the grub menu"),
        ('the "fromat" of it', 'the "fromat" of it'),  # quoted
        ("/dev/moutn1 plesae1", "/dev/moutn1 plesae1"),
        ("format\n\tthe  disk", "format\n\tthe  disk"),
        ("", ""),
    ],
)  # fmt: skip
def test_a_message_reads_like_the_data(typed: str, read: str) -> None:
    """Expected values by hand."""
    assert WORDING.normalized(typed) == read


def test_words_of_the_machine_stay() -> None:
    """What the context or an earlier answer says is no slip."""
    assert WORDING.normalized("is formta there", {"formta"}) == "is formta there"
    assert WORDING.normalized("IS FORMTA there", {"Formta"}) == "is Formta there"


@pytest.mark.parametrize("known", [("Formta", "formta"), ("formta", "Formta")])
def test_the_order_of_known_words_decides_nothing(known: tuple[str, ...]) -> None:
    """They come as a set, whose order differs from run to run; small letters win."""
    assert WORDING.normalized("IS FORMTA there", known) == "is formta there"


def distance(one: str, two: str) -> int:
    """Damerau-Levenshtein with swaps of neighbours (optimal string alignment), by the textbook."""
    rows = [[0] * (len(two) + 1) for _ in range(len(one) + 1)]
    for i in range(len(one) + 1):
        for j in range(len(two) + 1):
            if not i or not j:
                rows[i][j] = i + j
                continue
            same = one[i - 1] == two[j - 1]
            rows[i][j] = min(
                rows[i - 1][j] + 1, rows[i][j - 1] + 1, rows[i - 1][j - 1] + (not same)
            )
            if i > 1 and j > 1 and one[i - 1] == two[j - 2] and one[i - 2] == two[j - 1]:
                rows[i][j] = min(rows[i][j], rows[i - 2][j - 2] + 1)
    return rows[-1][-1]


@st.composite
def slips(draw: st.DrawFn) -> tuple[str, str]:
    """A common word, and the same with two neighbours swapped or a letter lost or doubled."""
    word = draw(st.sampled_from(COMMON))
    place = draw(st.integers(1, len(word) - 2))
    way = draw(st.sampled_from(["swap", "lose", "double"]))
    if way == "swap":
        return word, word[:place] + word[place + 1] + word[place] + word[place + 2 :]
    return word, word[:place] + ("" if way == "lose" else word[place] * 2) + word[place + 1 :]


@given(slips())
def test_a_slip_of_a_common_word_is_read_as_a_word(pair: tuple[str, str]) -> None:
    """As the word itself, or as it stands where it is a word, too (`fist`), or as its like."""
    word, typed = pair
    read = WORDING.normalized(f"do {typed} now").split()[1]
    assert read == typed or distance(typed, read) == 1 and read in COMMON
    if word not in ("users", "partitions"):  # `user` and `partition` are words
        assert read in (word, typed)


TEXTS = st.lists(
    st.one_of(
        st.sampled_from(
            ["FORMAT", "secodn", "Falkon", "/dev/sda1", "512M", "don't", "dont", "Samsung", "plesae.",
             '"moutn"', "partiton?", "No", "NEBULA", "sda", "nebulla", "\n", "(diskk)", "İ", "ß", "ﬁ"]
        ),
        st.sampled_from(COMMON).map(str.upper),
        st.text(max_size=8),
    ),
    max_size=8,
).map(" ".join)  # fmt: skip


@given(TEXTS)
def test_only_words_change_and_only_a_little(text: str) -> None:
    """White space and marks stay; a changed word is the same but for case and one slip, and no name."""
    read = WORDING.normalized(text)
    assert re.findall(r"\s+", read) == re.findall(r"\s+", text)
    for before, after in zip(text.split(), read.split(), strict=True):
        if before == after:
            continue
        assert not re.search(r"[\d/._:=@\\-]\w", before)
        low = before.lower().replace("’", "'")
        assert distance(low, after.lower()) <= 1
        assert low == after.lower() or after.lower().strip(".,?!()\"'") not in ("falcon", "nebula")


@given(TEXTS)
def test_it_is_done_once(text: str) -> None:
    """What was normalized stays as it is."""
    read = WORDING.normalized(text)
    assert WORDING.normalized(read) == read


@given(st.sampled_from(PHRASES))
def test_the_data_stays(phrase: str) -> None:
    """A message of the data is read as it stands."""
    assert WORDING.normalized(phrase) == phrase


def test_an_endless_word_costs_nothing() -> None:
    """What is longer than any word of the data can be none of them; its neighbours are not made, which
    would take gigabytes for one message."""
    word = "partitio" * 20_000
    assert WORDING.normalized(word) == word
    assert not WORDING._memo.keys() & {word}


def test_slips_of_the_data_are_slips() -> None:
    """A training set with noise: a form that is far rarer than its word is none of its own."""
    many = [(f"please partition {n}", "") for n in range(100)]
    noisy = Wording.of([*many, *((f"please partiton {n}", "") for n in range(4))])
    assert noisy.normalized("partiton") == "partition"
    assert Wording.of([*many[:10], ("please partiton", "")]).normalized("partiton") == "partiton"


def test_snapshots_tell_what_was_said() -> None:
    """The last message and its command; a text answers with none."""
    messages = [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]
    command = {"messages": messages, "expected_response": {"type": "command", "command": "ls"}}
    text = {"messages": messages, "expected_response": {"type": "text", "response": "No."}}
    assert [said(command), said(text)] == [("b", "ls"), ("b", "")]
    assert words_of(["a /dev/sda1, It's"]) == {"a", "dev", "sda", "It's"}


def test_a_file_keeps_it(tmp_path: Path) -> None:
    """words.json, there and back."""
    write_wording(tmp_path / WORDS, WORDING)
    read = read_wording(tmp_path)
    assert read == WORDING
    assert read is not None and read.normalized("FROMAT") == "format"
    assert read_wording(tmp_path / "elsewhere") is None


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "{}", '{"shown": {"a": "b"}, "names": []}',
             '{"shown": {"a": 1}, "names": [1]}', "[" * 100_000, json.dumps({"shown": [], "names": []})]
)  # fmt: skip
def test_a_broken_file_is_noted_and_not_used(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The model then reads what was typed; the log says why."""
    (tmp_path / WORDS).write_text(text)
    assert read_wording(tmp_path) is None
    assert WORDS in caplog.text and "not used" in caplog.text
