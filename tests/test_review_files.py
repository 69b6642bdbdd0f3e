"""The review and files that are deleted from a system that was there before."""

from __future__ import annotations

import pytest

from llmkit.domain import get_domain, review
from llmkit.installer.run import run_command
from tests.test_review import ONE, TWO, talk

OLD = run_command("mount /dev/sda2 /mnt", ONE).state
OLD_OF_TWO = run_command("mount /dev/sda2 /mnt", TWO).state
MYSQL = "rm -rf /mnt/var/lib/mysql"


@pytest.mark.parametrize(
    ("command", "path"),
    [
        (MYSQL, "/mnt/var/lib/mysql"),
        ("rm -r /mnt/srv/www", "/mnt/srv/www"),
        ("rm /mnt/boot/vmlinuz-linux", "/mnt/boot/vmlinuz-linux"),
        ("rm -rf /mnt/etc", "/mnt/etc"),
    ],
)
def test_a_deletion_that_nobody_asked_for_is_asked_about(command: str, path: str) -> None:
    """The question names what would go; yes to it makes the command pass, on two disks, too."""
    domain = get_domain("installer")
    for state in (OLD, OLD_OF_TWO):
        text = review(domain, state, talk("make some room on the root"), command)
        assert text is not None and path in text and "sda" in text and "everything on" not in text
        assert review(domain, state, talk("make some room", text, "yes"), command) is None
        assert review(domain, state, talk("make some room", text, "no"), command) is not None


@pytest.mark.parametrize("state", [OLD, OLD_OF_TWO])
def test_who_asks_for_the_deletion_and_names_it_gets_it(state: object) -> None:
    """The path tells where; no disk need be named."""
    for text in ("delete /mnt/var/lib/mysql", "please remove /mnt/var/lib/mysql, all of it"):
        assert review(get_domain("installer"), state, talk(text), MYSQL) is None


@pytest.mark.parametrize("state", [OLD, OLD_OF_TWO])
def test_a_deletion_that_is_for_later_or_of_others_is_asked_about(state: object) -> None:
    """A path alone is no wish."""
    for text in ("delete /mnt/var/lib/mysql tomorrow", "my boss says delete /mnt/var/lib/mysql"):
        assert review(get_domain("installer"), state, talk(text), MYSQL) is not None


@pytest.mark.parametrize(
    "command",
    ["rm -rf /mnt/var/cache/pacman/pkg", "rm -rf /mnt/tmp/build", "rm -rf /mnt/var/log/journal",
     "rm /mnt/etc/resolv.conf", "rmdir /mnt/srv/www"],
)  # fmt: skip
def test_what_comes_again_is_not_asked_about(command: str) -> None:
    """Caches, temporary files, logs; one file of the settings; a folder that is empty."""
    assert review(get_domain("installer"), OLD, talk("tidy up the root a little"), command) is None


def test_what_was_made_in_this_conversation_may_go() -> None:
    """A file system that was formatted here holds nothing that was there before."""
    new = run_command(
        "mkfs.ext4 -F /dev/sda2 && mount /dev/sda2 /mnt && "
        "mkdir -p /mnt/srv/www && touch /mnt/srv/www/a",
        ONE,
    ).state
    assert review(get_domain("installer"), new, talk("clear it up"), "rm -r /mnt/srv/www") is None
