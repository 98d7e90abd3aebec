"""Make docs/performance.md, its picture and the figures in docs/scaling.md of what `make bench` has measured.

python -m bench.publish
"""

import argparse
from pathlib import Path

from app.errors import UserError
from bench import tables
from bench.chart import Bar, Panel, svg
from bench.contestants import WORKER, WORKERS
from bench.errors import told
from bench.results import FILE, Results, shown
from bench.workload import PORTFOLIOS

_DOCS = Path(__file__).parent.parent / "docs"
_PAGE = "performance.md"
_PICTURE = "performance.svg"
_SCALING = "scaling.md"
_TEMPLATE = Path(__file__).with_name("performance.template.md")
_OURS = {contestant.name for contestant in WORKERS}


def panels(results: Results) -> list[Panel]:
    """Return the charts of what was measured."""
    charts = [
        _chart(results, "Processor time, backlog", "µs of CPU an event; less is better", "cpu_us", "throughput"),
        _chart(results, "Throughput, backlog", "events a second; more is better", "rate", "throughput"),
    ]
    for rate in tables.counts(results, "latency", "rate"):
        for name, share in (("p50_ms", "Half of the answers"), ("p99_ms", "99 % of the answers")):
            title, unit = f"{share} at {rate:,} events/s", "came within so many ms; less is better"
            charts.append(_chart(results, title, unit, name, "latency", rate=rate))
    costs = {
        ids: results.figure("cpu_us", "remembering", ids=ids) for ids in tables.counts(results, "remembering", "ids")
    }
    bars = [
        Bar(f"{ids:,} ids", figure.median, shown(figure.median), is_ours=True)
        for ids, figure in costs.items()
        if figure
    ]
    charts.append(Panel("Processor time, by what is remembered", "µs of CPU an event; flat is better", bars))
    return [chart for chart in charts if chart.bars]


def _chart(results: Results, title: str, unit: str, value: str, measure: str, **wanted: int) -> Panel:
    if measure == "throughput":
        wanted["portfolios"] = PORTFOLIOS
    figures = [(name, results.figure(value, measure, contestant=name, **wanted)) for name in tables.NAMES]
    bars = [Bar(name, figure.median, shown(figure.median), name in _OURS) for name, figure in figures if figure]
    return Panel(title, unit, bars)


def page(results: Results) -> str:
    """Return docs/performance.md."""
    machine = results.machine
    return _TEMPLATE.read_text().format(
        date=machine.date,
        commit=machine.commit,
        seed=results.seed,
        machine=f"{machine.cores} cores ({machine.processor}), {machine.memory_gib} GiB of memory, {machine.system},"
        f" Python {machine.python}, Kafka {machine.kafka}, one broker on the same machine",
        load=machine.load,
        runs=_runs(results),
        tables=tables.all_tables(results),
        picture=_PICTURE,
        worker=WORKER.name,
        portfolios=f"{PORTFOLIOS:,}",
        unit_rate=f"{tables.UNIT_RATE:,}",
    )


def _runs(results: Results) -> str:
    """Return how much was measured, in words."""
    lines = results.lines("throughput", contestant=WORKER.name, portfolios=PORTFOLIOS)
    events = max((line["events"] for line in lines), default=0)
    return f"{events:,} events a backlog, {len(lines)} rounds"


def with_figures(text: str, name: str, figures: str) -> str:
    """Return a page with figures put between the marks of that name; raises UserError if it has no such marks."""
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    head, mark, rest = text.partition(begin)
    _, closing, tail = rest.partition(end)
    if not (mark and closing):
        raise UserError(f"docs/{_SCALING} has no place for {name}: put {begin.strip()} and {end} around it")
    return f"{head}{begin}{figures}\n{end}{tail}"


def main() -> None:
    """Write the pages."""
    parser = argparse.ArgumentParser(prog="python -m bench.publish", description=__doc__)
    parser.add_argument("--json", type=Path, default=FILE, help="what was measured")
    results = Results.read(parser.parse_args().json)
    (_DOCS / _PAGE).write_text(page(results))
    (_DOCS / _PICTURE).write_text(svg(panels(results)))
    machine = results.machine
    scaling, source = _DOCS / _SCALING, f"Of {machine.date}, commit {machine.commit}"
    text = scaling.read_text()
    for name, figures in (("sizes", tables.sizes(results)), ("partitions", tables.partitions(results))):
        if figures:
            text = with_figures(text, name, f"{source}: {figures}" if name == "sizes" else f"{source}:\n\n{figures}")
    scaling.write_text(text)
    print(f"written: docs/{_PAGE}, docs/{_PICTURE}, docs/{_SCALING}")


if __name__ == "__main__":
    with told("bench.publish"):
        main()
