"""The impact study: nothing looks ahead, what sizes is the product, and fixed sizing is what a hand calculates."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from itertools import pairwise

import orjson
import pytest

from app.codecs import encode_sized_order
from app.core.messages import Fill, Signal, SizedOrder
from app.core.policy import Policy
from app.demo.desk import rfc3339
from app.processor.simulation import Simulation
from app.replay.counterfactual import Rule, fixed_sizing, without
from study.coins import COINS, coin_ideas
from study.desk import Account, Desk
from study.ideas import Idea, Ranks, merged, textbook_ideas
from study.markets import Costs, Market, Universe, emini, etfs
from study.past import Past
from study.textbook import STRATEGIES, Strategy

HOUR = 3_600_000_000
MARKET = Market(
    "M", [HOUR * bar for bar in range(6)], [100, 100, 104, 90, 92, 95], Decimal(1), Costs(*2 * [Decimal(0)])
)


@pytest.fixture(scope="module")
def universe() -> Universe:
    return etfs()


def cut(market: Market, bars: int) -> Market:
    return market._replace(times=market.times[:bars], closes=market.closes[:bars])


def another_future(market: Market, known: int) -> Market:
    """Return a market that is the same up to a bar, and then falls where the real one rises."""
    future = [3 * market.closes[known] - close for close in market.closes[known + 1 :]]
    return market._replace(closes=[*market.closes[: known + 1], *future])


def told(strategy: Strategy, market: Market, known: int) -> list[tuple[int, ...] | tuple[int, int, float]]:
    """Return what is asked for at bars whose price comes next, at the latest, and which ideas end there."""
    ideas = list(textbook_ideas(strategy, market))
    asked = [(idea.entry, idea.side, idea.confidence) for idea in ideas if idea.entry <= known + 1]
    return [*asked, *((idea.entry, idea.exit) for idea in ideas if idea.exit <= known + 1)]


@pytest.mark.parametrize("strategy", STRATEGIES, ids=[strategy.name for strategy in STRATEGIES])
def test_no_strategy_looks_ahead(strategy: Strategy, universe: Universe) -> None:
    market = cut(universe.markets[0], 700)
    for known in range(600, 690, 5):
        before = told(strategy, market, known)
        assert before == told(strategy, another_future(market, known), known), f"what is known ends with bar {known}"
        assert before, "the comparison is of something"


@pytest.mark.parametrize("known", range(640, 644))
@pytest.mark.parametrize("policy", [without(), fixed_sizing()], ids=["rules", "fixed"])
def test_no_decision_looks_ahead(policy: Policy, known: int, universe: Universe) -> None:
    strategies = [strategy for strategy in STRATEGIES if strategy.name in ("momentum 1, held 1", "momentum 10")]
    markets = [cut(market, 660) for market in universe.markets[: len(strategies)]]

    def decided(markets: Sequence[Market]) -> list[SizedOrder]:
        ideas = [list(textbook_ideas(*one)) for one in zip(strategies, markets, range(len(markets)), strict=True)]
        answers = decisions(Desk(markets, policy), merged(ideas))
        return [order for order in answers if order.decided_at < markets[0].times[known + 1]]

    before, after = decided(markets), decided([another_future(market, known) for market in markets])
    assert before == after
    assert before[-1].decided_at > markets[0].times[known - 1], "there is one as late as can be"


def decisions(desk: Desk, ideas: Iterable[Idea]) -> list[SizedOrder]:
    answers: list[SizedOrder] = []
    desk.on_signal = lambda _signal, answer: answers.append(answer)  # type: ignore[method-assign]
    desk.run(ideas)
    return answers


def test_a_known_edge_is_the_only_thing_that_sees_the_future(universe: Universe) -> None:
    market = universe.markets[0]
    for coin in COINS:
        ideas = list(coin_ideas(coin, market))
        right = [(market.closes[idea.exit] >= market.closes[idea.entry]) == (idea.side > 0) for idea in ideas]
        expected = [
            coin.right(number, idea.entry / (len(market.closes) - 1), idea.confidence)
            for number, idea in enumerate(ideas)
        ]
        off = abs(sum(right) - sum(expected)) / (len(ideas) / 4) ** 0.5
        assert off < 4, f"{coin.name}: {sum(right)} of {len(ideas)} right, {sum(expected):.0f} expected"


class Recorder(Desk):
    """Keeps what the product's worker would see, as lines for `sizer simulate`, and what the study decided."""

    def __init__(self, universe: Universe, policy: Policy) -> None:
        super().__init__(universe.markets, policy)
        self.lines: list[bytes] = []
        self.answers: list[bytes] = []

    def on_signal(self, signal: Signal, answer: SizedOrder) -> None:
        self._add("signals", signal._asdict() | {"generated_at": rfc3339(signal.generated_at)}, answer.decided_at)
        self.answers.append(encode_sized_order(answer))

    def on_fill(self, fill: Fill) -> None:
        self._add("fills", fill._asdict() | {"transact_time": rfc3339(fill.transact_time)}, fill.transact_time)

    def _add(self, topic: str, value: dict[str, object], now: int) -> None:
        line = {"topic": topic, "key": "study", "value": value, "now": rfc3339(now)}
        self.lines.append(orjson.dumps(line, default=lambda amount: f"{amount:f}"))


@pytest.mark.parametrize("off", [(), (Rule.PHASES,), (Rule.DRAWDOWN, Rule.LIMIT), tuple(Rule)], ids=str)
def test_what_sizes_is_the_product_to_the_byte(off: tuple[Rule, ...], universe: Universe) -> None:
    basket = universe._replace(markets=[cut(market, 400) for market in universe.markets[:12]])
    coin = next(coin for coin in COINS if coin.kind == "steady 65")
    ideas = merged([list(coin_ideas(coin, market, place)) for place, market in enumerate(basket.markets)])
    recorder = Recorder(basket, without(*off))
    account = recorder.run(ideas)
    simulation = Simulation(without(*off))
    answers = [orjson.loads(line) for line in simulation.run(recorder.lines)]
    sized = [answer["value"].encode() for answer in answers if answer.get("topic") == "sized_orders"]
    assert sized == recorder.answers
    assert not [answer for answer in answers if answer.get("topic", "").endswith(".dlq") or "ignored" in answer]
    assert len(account.trades) > 100
    if not off:
        assert account.skipped["EXPOSURE_LIMIT"], "the limit was reached"
        assert set(account.phases) == {1, 2, 3}, "and every phase"
        assert account.protected, "and the protection"


def run(market: Market, policy: Policy, *ideas: Idea) -> Account:
    return Desk([market], policy).run(ideas)


def test_fixed_sizing_is_what_a_hand_calculates() -> None:
    # Worth 1,000,000, so each order is 5,000. Bought at 104 after 100 was seen: 50 would cost 5,200, so 5,000 / 104.
    account = run(MARKET, fixed_sizing(), Idea(0, 2, 3, 1, 0.1), Idea(0, 4, 5, -1, 0.1))
    first, second = account.trades
    assert (first.order.notional, first.order.quantity) == (5000, 50)
    assert first.quantity == Decimal("48.07692307")
    assert first.result == Decimal("48.07692307") * (90 - 104)
    # Lost 673.07692298: worth 999,326.92 (cents, down), of which 0.5 % are 4,996.63. Sold at 92 after 90 was seen.
    assert second.order.portfolio_value == Decimal("999326.92")
    assert second.order.notional == Decimal("4996.63")
    assert second.quantity == Decimal("54.31119565")
    assert second.result == Decimal("54.31119565") * (92 - 95)


def test_the_rules_size_the_same_ideas_smaller() -> None:
    account = run(MARKET, without(), Idea(0, 2, 3, 1, 0.9), Idea(0, 4, 5, -1, 0.6))
    assert [trade.order.notional for trade in account.trades] == [Decimal(1000), Decimal("749.89")]
    assert run(MARKET, without(), Idea(0, 2, 3, 1, 0.59)).skipped == {"LOW_CONFIDENCE": 1}


def test_costs_are_taken_on_both_sides() -> None:
    market = MARKET._replace(closes=[100] * 6, costs=Costs(Decimal("0.01"), Decimal("0.001")))
    (trade,) = run(market, fixed_sizing(), Idea(0, 2, 3, 1, 0.9)).trades
    assert (trade.entry.last_px, trade.exit.last_px) == (101, 99)
    assert trade.quantity == Decimal("49.50495049")  # 5,000 / 101
    # Half of the spread twice, and a thousandth of 4,999.99999949 and of 4,900.99009851.
    assert trade.result == Decimal("-99.00990098") - Decimal("5.000000") - Decimal("4.900990")


def test_an_account_is_worth_what_is_open_too() -> None:
    long, other = MARKET, MARKET._replace(name="N")
    desk = Desk([long, other], fixed_sizing())
    answers = decisions(desk, [Idea(0, 2, 5, 1, 0.9), Idea(1, 4, 5, 1, 0.9)])
    # 48.07692307 bought at 104 are worth 90 each when the second is asked for.
    assert answers[1].portfolio_value == Decimal("999326.92")


def test_a_reversal_waits_until_the_result_is_known() -> None:
    strategy = Strategy("flips", "test", STRATEGIES[0].calls, None)
    market = cut(etfs().markets[0], 400)
    ideas = list(textbook_ideas(strategy, market))
    assert len(ideas) > 20
    assert all(after.entry > before.exit for before, after in pairwise(ideas))


def test_confidence_is_a_rank_among_earlier_ideas() -> None:
    ranks = Ranks()
    assert [ranks.confidence(float(strength)) for strength in range(10)] == [0.75] * 10  # too few to tell
    assert ranks.confidence(100.0) == 1.0
    assert ranks.confidence(-1.0) == 0.5
    assert ranks.confidence(4.0) == round(0.5 + (5 + 0.5) / 12 / 2, 4)  # five weaker, one as strong, of twelve


def test_means_and_deviations_are_of_the_bars_so_far() -> None:
    past = Past([1, 2, 3, 6, 5])
    assert (past.mean(3, 3), past.change(3, 2), past.highest(4, 2), past.lowest(4, 3)) == (11 / 3, 4, 6, 3)
    assert past.deviation(2, 3) == pytest.approx((2 / 3) ** 0.5)


def test_prices_are_real_and_whole(universe: Universe) -> None:
    spy = next(market for market in universe.markets if market.name == "SPY")
    assert (len(universe.markets), len(spy.closes), spy.price(0)) == (23, 2141, Decimal("144.93"))
    minutes = emini().markets[0]
    assert (len(minutes.closes), minutes.price(-1)) == (2264, Decimal("1631.25"))
    assert all(later > earlier for earlier, later in pairwise(minutes.times))
