"""A policy file: TOML with the parameters' names, e.g. `base_fraction_1 = "0.0005"`."""

import tomllib
from decimal import Decimal
from pathlib import Path

from app.core.policy import TABLE_POLICY, Policy, PolicyError
from app.errors import UserError


def load_policy(path: Path | None) -> Policy:
    """Return the policy of a file, or the locked table itself without one.

    Raises UserError, one line that names the file, the parameter, its value and what was expected.
    """
    if path is None:
        return TABLE_POLICY
    try:
        return Policy(tomllib.loads(path.read_text("utf-8"), parse_float=Decimal))
    except OSError as error:
        raise UserError(f"policy file {path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise UserError(f"policy file {path}: is not UTF-8 text; write it as TOML") from None
    except PolicyError as error:
        raise UserError(f"policy file {path}: {error}") from None
    except (ValueError, ArithmeticError, RecursionError) as error:
        # Beside its own error the parser lets out those of numbers and nesting beyond what Python takes.
        raise UserError(f"policy file {path}: is not valid TOML ({error})") from None
