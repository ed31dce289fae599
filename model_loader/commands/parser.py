"""The argument parser of every command line that a store's URL may be given to."""

import argparse
import re
from typing import NoReturn

from model_loader.store.secrets import scrub


class Parser(argparse.ArgumentParser):
    """An argument parser that does not print a credential in its error messages.

    argparse prints the value of a mistyped option, which may be a URL with a SAS.
    """

    def error(self, message: str) -> NoReturn:
        """Print the usage and the message, without credentials, and exit with 2."""
        super().error(scrub(re.sub(r"\?\S*", "", message)))
