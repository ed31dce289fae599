"""`releases.jsonl`: its lines, and which of them a rollback restores."""

import pytest

from release.errors import ReleaseError
from release.release_log import Release, default_target, find, parse


def release_of(image: int, note: str | None = None) -> Release:
    """Return a release of an image."""
    digest = f"sha256:{image:064x}"
    return Release("2026-01-01T00:00:00Z", "0" * 40, f"r@{digest}", f"m/{image}@{digest}", "me", note)


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        ([1, 2], 1),
        ([1, 2, 2], 1),
        ([1, 2, 3, -2], 2),
        ([1, 2, 3, -2, 4], 2),
        ([1, 2, -2], 2),
        ([1, 2, 3, -1], 1),
    ],
)
def test_default_target(images: list[int], expected: int) -> None:
    """The release before the last; after a rollback, negative here, the one it restored."""
    releases = [release_of(abs(image), "rollback" if image < 0 else None) for image in images]
    assert default_target(releases).image == release_of(expected).image


def test_no_earlier_release() -> None:
    """There is nothing to roll back to before the second release."""
    for releases in ([], [release_of(1)]):
        with pytest.raises(ReleaseError, match="nothing to roll back to"):
            default_target(releases)


def test_find_last() -> None:
    """If several releases match, the last one is returned."""
    assert find([release_of(1), release_of(2), release_of(1, "rollback")], "m/1").note == "rollback"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}\n", "line 1 is not a release"),
        ("[]\n", "line 1 is not a release"),
        (release_of(1).to_line() + "\n", "line 2 is not JSON"),
        (release_of(1).to_line()[:-1], "the last line is incomplete"),
        (release_of(1).to_line().replace("r@", "r:1@sha256:"), "line 1: invalid image"),
        (release_of(1).to_line().replace('"me"', "7"), "line 1: invalid who: 7"),
        (release_of(1).to_line().replace('"who"', '"whom"'), "line 1 is not a release"),
    ],
)
def test_invalid_log(text: str, message: str) -> None:
    """An invalid line is refused, with its number."""
    with pytest.raises(ReleaseError, match=message):
        parse(text)


def test_text_round_trip() -> None:
    """A note with quotes, separators and non-ASCII characters is read as it was written."""
    odd = release_of(1, 'rollback: "schlecht"\u2028ß')
    assert parse(release_of(2).to_line() + odd.to_line()) == [release_of(2), odd]
