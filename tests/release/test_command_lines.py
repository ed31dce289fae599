"""What all command lines do that a store's URL may be given to, if only by mistake."""

from collections.abc import Callable, Sequence

import pytest

import model_loader.__main__
import release.__main__
import release.pod_check
import release.rollout_command
import training.train  # part: training

MAINS = (
    model_loader.__main__.main,
    training.train.main,  # part: training
    release.__main__.main,
    release.pod_check.main,
    release.rollout_command.main,
)
URL = "https://account.blob.core.windows.net/models?sv=1&sig=secret"


@pytest.mark.parametrize("main", MAINS, ids=lambda main: main.__module__)
@pytest.mark.parametrize(
    "arguments", [("--storage", URL), (f"--storage={URL}",), ("which", "--storage", URL), (URL,)]
)
def test_mistyped_option(
    main: Callable[[Sequence[str]], int], arguments: Sequence[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The SAS of a mistyped option is not printed."""
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    printed = capsys.readouterr().err
    assert "usage: " in printed
    assert "secret" not in printed


def test_credential_in_a_note(capsys: pytest.CaptureFixture[str]) -> None:
    """A credential that would be recorded is refused."""
    with pytest.raises(SystemExit, match="2"):
        release.__main__.main(["rollback", "--reason", f"from {URL}"])
    assert "argument reason has a credential" in capsys.readouterr().err
