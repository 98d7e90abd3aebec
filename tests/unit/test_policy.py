"""The policy lock: tighter is taken, looser is refused by name."""

from decimal import Decimal
from pathlib import Path

import pytest

from app.codecs.policy_file import load_policy
from app.core.policy import TABLE, TABLE_POLICY, Policy, PolicyError, Tighter
from app.errors import UserError

STEP = {name: 1 if isinstance(row.table, int) else Decimal("0.000001") for name, row in TABLE.items()}
LOCKED = [name for name, row in TABLE.items() if row.tighter is not Tighter.FREE]


def test_the_table_has_its_known_id() -> None:
    assert TABLE_POLICY.policy_id == "d66c3bc987b08424"
    assert TABLE_POLICY.canonical.startswith('{"base_fraction_1":"0.001","base_fraction_2":"0.0025",')


@pytest.mark.parametrize("name", LOCKED)
def test_each_parameter_may_be_tighter_and_never_looser(name: str) -> None:
    row = TABLE[name]
    towards_tighter = -STEP[name] if row.tighter is Tighter.SMALLER else STEP[name]
    assert Policy({name: row.table + towards_tighter}).policy_id != TABLE_POLICY.policy_id
    assert Policy({name: row.table}).policy_id == TABLE_POLICY.policy_id
    with pytest.raises(PolicyError, match=f"^{name} = .*looser"):
        Policy({name: row.table - towards_tighter})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("base_fraction_1", "0.0000001"),
        ("base_fraction_1", "-0.001"),
        ("base_fraction_1", "a"),
        ("base_fraction_1", "0_0.001"),
        ("base_fraction_1", True),
        ("base_fraction_1", None),
        ("base_fraction_1", Decimal("NaN")),
        ("phase_2_trades", "20.5"),
        ("phase_2_trades", 21.000001),
        ("phase_2_trades", True),
        ("drawdown_on_losses", 0),
        ("reservation_ttl", 59),
        ("reservation_ttl", 86401),
        ("base_fraction_4", "0.001"),
        ("confidence", "0.9"),
    ],
)
def test_what_is_no_parameter_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(PolicyError, match=f"^{name}"):
        Policy({name: value})


def test_a_policy_file(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text('base_fraction_1 = 0.0005\nexposure_limit = "0.008"\nphase_2_trades = 30\n')
    policy = load_policy(path)
    assert policy.base_fractions[0] == Decimal("0.0005")
    assert policy.parameters["phase_2_trades"] == 30


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"exposure_limit = 0.02", "exposure_limit = 0.02: looser than the locked policy, must be at most 0.01"),
        (b"exposure_limit", "is not valid TOML"),
        (b"\xff", "is not UTF-8"),
        (b"base_fraction_1 = nan", "base_fraction_1 = NaN: must be at least 0"),
    ],
)
def test_a_bad_policy_file_is_one_line(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "policy.toml"
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        load_policy(path)
    assert said in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_policy_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.toml: cannot be read"):
        load_policy(tmp_path / "none.toml")
