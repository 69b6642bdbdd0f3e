"""Split: by id alone, and with words of its own on the test side."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llmkit.split import TEST, TRAIN, fingerprint, normal, side, unshared

WORDS = st.text("abc YES.,!", min_size=1, max_size=8)


@given(ids=st.lists(st.text(min_size=1, max_size=8), unique=True), more=st.text(min_size=1))
def test_adding_a_conversation_moves_no_other(ids: list[str], more: str) -> None:
    """A side is a function of the id: what else is in the corpus does not matter."""
    before = {name: side(name, salt="s") for name in ids}
    after = {name: side(name, salt="s") for name in [more, *ids]}
    assert all(after[name] == before[name] for name in ids)


@given(name=st.text(), share=st.floats(0, 1))
def test_a_larger_share_only_adds_to_the_test_side(name: str, share: float) -> None:
    """What is held out at a small share is held out at every larger one."""
    if side(name, test=share / 2) == TEST:
        assert side(name, test=share) == TEST


def test_the_ends_of_the_share() -> None:
    """0 holds nothing out, 1 everything."""
    assert {side(str(n), test=0.0) for n in range(50)} == {TRAIN}
    assert {side(str(n), test=1.0) for n in range(50)} == {TEST}


def test_the_share_is_about_kept() -> None:
    """Of 10,000 ids about 15 % are held out (within four standard deviations, 143)."""
    held = sum(side(f"talk-{n}", test=0.15, salt="x") == TEST for n in range(10_000))
    assert abs(held - 1500) < 143


def test_the_salt_makes_another_split() -> None:
    """Two salts hold out different conversations."""
    ids = [str(n) for n in range(200)]
    assert [side(i, salt="a") for i in ids] != [side(i, salt="b") for i in ids]


def test_wordings_are_compared_without_case_and_punctuation() -> None:
    """Case, spaces and punctuation make no other wording; paths and slots do."""
    assert normal("Yes,  please!") == normal("yes please") == "yes please"
    assert normal("use /dev/sda") != normal("use /dev/sdb")
    assert normal("use {{ target.path }}") != normal("use {{ other.path }}")


@given(words=st.lists(WORDS, min_size=1).map(tuple), taken=st.sets(WORDS.map(normal)))
def test_a_test_turn_keeps_words_and_prefers_its_own(
    words: tuple[str, ...], taken: set[str]
) -> None:
    """unshared never leaves a turn without words, and keeps a shared one only if all are."""
    left = unshared(words, taken)
    assert left and set(left) <= set(words)
    if any(normal(word) in taken for word in left):
        assert all(normal(word) in taken for word in words)


@given(one=WORDS, other=WORDS)
def test_fingerprints_follow_the_normalised_wording(one: str, other: str) -> None:
    """Equal when the normalised wordings are, and else not."""
    assert (fingerprint(one) == fingerprint(other)) == (normal(one) == normal(other))
