"""The options that choose a namespace."""

import argparse

import pytest

from release.namespace_options import add_namespace_options


@pytest.mark.parametrize(
    ("arguments", "namespace"),
    [
        ([], "demo-production"),
        (["--stage", "production"], "demo-production"),
        (["--stage", "staging"], "demo-staging"),
        (["--namespace", "other"], "other"),
    ],
)
def test_namespace(arguments: list[str], namespace: str) -> None:
    """A stage stands for its namespace in `service.toml`; without options it is production."""
    parser = argparse.ArgumentParser()
    add_namespace_options(parser)
    assert parser.parse_args(arguments).namespace == namespace


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--stage", "demo-production"], "expected staging or production, got 'demo-production'"),
        (["--namespace", "A"], "expected a namespace, got 'A'"),
        (["--namespace", "a", "--stage", "staging"], "not allowed with argument"),
    ],
)
def test_refused(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Other values, and both options at once, are errors of usage."""
    parser = argparse.ArgumentParser()
    add_namespace_options(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(arguments)
    assert message in capsys.readouterr().err
