"""Sizes: what lsblk prints, and what people write."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.installer.size import human, parse

# Sizes of disks on sale, edges of rounding and of units; multiples of 512, as block devices are.
DEVICE_SIZES = [
    512, 1024, 1536, 1048064, 1048576, 1073217536, 1073741824, 53687091200, 128035676160,
    240057409536, 256060514304, 500107862016, 512110190592, 1000204886016, 1024209543168,
    2000398934016, 4000787030016, 8001563222016, 15728640000, 16008609792, 1127428915200,
    1099457953792, 1099511627776, 1099565301248, 1153433600, 112742400, 107911168,
]  # fmt: skip


@pytest.fixture(scope="module")
def lsblk_sizes(tmp_path_factory) -> dict[int, str]:
    """What the real lsblk prints for sparse loop devices of DEVICE_SIZES."""
    image = Path(tmp_path_factory.mktemp("size")) / "disk.img"
    printed = {}
    for size in DEVICE_SIZES:
        with open(image, "wb") as stream:
            stream.truncate(size)
        attach = subprocess.run(
            ["losetup", "--find", "--show", str(image)],
            check=False,
            capture_output=True,
            text=True,
        )
        if attach.returncode != 0:
            pytest.skip(f"no loop devices here: {attach.stderr.strip()}")
        device = attach.stdout.strip()
        try:
            shown = subprocess.run(
                ["lsblk", "-dno", "SIZE", device], capture_output=True, text=True, check=True
            )
            printed[size] = shown.stdout.strip()
        finally:
            subprocess.run(["losetup", "-d", device], check=True)
    return printed


def test_human_is_what_lsblk_prints(lsblk_sizes):
    """Every size reads as the real tool prints it."""
    assert {size: human(size) for size in DEVICE_SIZES} == lsblk_sizes


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512M", 512 * 1024**2),
        ("512MiB", 512 * 1024**2),
        ("512MB", 512 * 1000**2),
        ("1.5T", 1649267441664),
        ("0.1G", 107374182),
        ("12", 12),
        ("12B", 12),
        (" 2 g ", 2 * 1024**3),
    ],
)
def test_sizes_are_read_as_tools_and_boxes_mean_them(text, size):
    """M and MiB are powers of two, MB is a power of ten; fractions are exact."""
    assert parse(text) == size


@pytest.mark.parametrize("text", ["", "-1G", "1X", "G", "1.G", "1e9", "1,5G", "1 2G", "٣G"])
def test_what_is_no_size_is_refused(text):
    """A ValueError that says what to write."""
    with pytest.raises(ValueError, match="not a size"):
        parse(text)


@given(st.integers(0, 1 << 60))
def test_printing_and_reading_stays_within_the_rounding(size):
    """parse(human(size)) differs from size by less than a tenth of the printed unit."""
    text = human(size)
    unit = parse("1" + text[-1])
    assert abs(parse(text) - size) <= unit // 10


def test_a_negative_size_is_an_error():
    """Subtraction below zero is a bug that must show."""
    with pytest.raises(ValueError, match="negative"):
        human(-1)
