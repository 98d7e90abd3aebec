"""`sizer explain` and `sizer what-if` on a real broker, as analysts call them."""

from pathlib import Path

import orjson

from tests.integration.cluster import Deployment
from tests.integration.test_replay import SEED, history, sizer
from tests.integration.traffic import Traffic


def test_explained_from_kafka_and_from_files_alike(deployment: Deployment, tmp_path: Path) -> None:
    signal = orjson.loads(history(deployment, Traffic(SEED), 40)[0].value or b"")
    wanted, portfolio = signal["signal_id"], signal["portfolio_id"]
    assert sizer(deployment, "export", "--format", "jsonl", "--out", str(tmp_path / "raw")).returncode == 0
    everywhere = sizer(deployment, "explain", wanted, "--json")
    alone = sizer(deployment, "explain", wanted, "--portfolio", portfolio, "--json")
    offline = sizer(deployment, "explain", wanted, "--from", str(tmp_path / "raw"), "--json")
    assert everywhere.returncode == alone.returncode == offline.returncode == 0
    # It was sent twice: the repeat names the answer.
    first, repeat = orjson.loads(everywhere.stdout)["explanations"]
    assert (first["portfolio_id"], repeat["outcome"], repeat["order_id"]) == (portfolio, "DUPLICATE", first["order_id"])
    assert first["published"] == first["recomputed"] is not None
    assert everywhere.stdout == offline.stdout
    assert orjson.loads(alone.stdout)["explanations"] == [first, repeat]
    by_order = sizer(deployment, "explain", first["order_id"])
    assert by_order.returncode == 0
    assert "identical to what was recomputed, to the byte" in by_order.stdout
    assert sizer(deployment, "explain", "nowhere").returncode == 1

    (tmp_path / "same.toml").write_text("")
    compared = sizer(deployment, "what-if", "--policy", str(tmp_path / "same.toml"), "--json")
    assert compared.returncode == 0
    actual, same = orjson.loads(compared.stdout)["scenarios"]
    assert same["portfolios"] == actual["portfolios"]
    assert actual["total"]["sized"] > 0
    again = sizer(
        deployment, "what-if", "--policy", str(tmp_path / "same.toml"), "--json", "--from", str(tmp_path / "raw")
    )
    assert again.stdout == compared.stdout
