"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  // Colours after Okabe and Ito; fixed sizing and the limit are dashed as well, for who sees no colours.
  const LIGHT = { blue: "#0072b2", orange: "#d55e00", text: "#57606a", grid: "#e3e6ea", shade: "rgba(213,94,0,.20)", fill: "rgba(0,114,178,.12)" };
  const DARK = { blue: "#56b4e9", orange: "#e69f00", text: "#a3abb5", grid: "#2c3138", shade: "rgba(230,159,0,.24)", fill: "rgba(86,180,233,.14)" };
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const HEIGHT = 205;
  const PRINT = { width: 370, height: 170 };
  const groups = new Map(); // a portfolio's details element: its plots

  const thousands = (decimals) => {
    const format = new Intl.NumberFormat("en-GB", { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
    return (value) => (value == null ? "–" : format.format(value).replace("-", "−"));
  };
  const money = thousands(2);
  const percent = (value) => {
    if (value == null) return "–";
    const size = Math.abs(value);
    return thousands(size === 0 ? 0 : Math.min(6, Math.max(0, 2 - Math.floor(Math.log10(size)))))(value) + " %";
  };
  const onAxis = (suffix) => (u, values) => {
    const step = values.length > 1 ? Math.abs(values[1] - values[0]) : 1;
    const decimals = Math.min(8, Math.max(0, -Math.floor(Math.log10(step) + 1e-9)));
    return values.map((value) => (value == null ? "" : thousands(decimals)(value) + suffix));
  };
  const two = (number) => String(number).padStart(2, "0");
  const day = (at) => `${at.getUTCFullYear()}-${two(at.getUTCMonth() + 1)}-${two(at.getUTCDate())}`;
  const clock = (at, step) => {
    const minutes = `${two(at.getUTCHours())}:${two(at.getUTCMinutes())}`;
    if (step >= 60) return minutes;
    const seconds = `${minutes}:${two(at.getUTCSeconds())}`;
    return step >= 1 ? seconds : `${seconds}.${String(at.getUTCMilliseconds()).padStart(3, "0")}`;
  };
  const moments = (u, splits, number, space, step) => {
    let before = "";
    return splits.map((seconds) => {
      if (seconds == null) return "";
      const at = new Date(Math.round(seconds * 1000));
      const date = day(at);
      if (step >= 86400) return date;
      const isNew = date !== before;
      before = date;
      return isNew ? `${clock(at, step)}\n${date}` : clock(at, step);
    });
  };
  const stepped = uPlot.paths.stepped({ align: 1 });

  const KINDS = {
    equity: (c) => ({ axis: onAxis(""), series: [
      { label: "as sized", stroke: c.blue, width: 2, paths: stepped, value: (u, v) => money(v) },
      { label: "fixed 0.5 %", stroke: c.orange, width: 1.5, dash: [6, 4], paths: stepped, value: (u, v) => money(v) }] }),
    drawdown: (c) => ({ axis: onAxis(" %"), series: [
      { label: "as sized", stroke: c.blue, width: 2, fill: c.fill, fillTo: 0, paths: stepped, value: (u, v) => percent(v) },
      { label: "fixed 0.5 %", stroke: c.orange, width: 1.5, dash: [6, 4], paths: stepped, value: (u, v) => percent(v) }] }),
    exposure: (c) => ({ axis: onAxis(""), zero: true, series: [
      { label: "exposure", stroke: c.blue, width: 1.5, fill: c.fill, paths: stepped, value: (u, v) => money(v) },
      { label: "limit", stroke: c.orange, width: 2, dash: [6, 4], paths: stepped, value: (u, v) => money(v) }] }),
    phase: (c) => ({ axis: (u, values) => values.map((v) => (Number.isInteger(v) ? String(v) : "")), range: [0.5, 3.5], splits: [1, 2, 3], shade: c.shade, series: [
      { label: "phase", stroke: c.blue, width: 3, paths: stepped, value: (u, v) => (v == null ? "–" : String(v)) },
      { label: "protection", stroke: c.orange, width: 0, paths: () => null, value: (u, v) => (v == null ? "–" : v ? "on" : "off") }] }),
    cost: (c) => ({ axis: onAxis(" %"), line: 100, series: [
      { label: "cost", stroke: c.blue, paths: () => null, points: { show: true, size: 6, fill: c.blue, stroke: c.blue }, value: (u, v) => percent(v) }] }),
  };

  const shadeProtection = (colour) => (u) => {
    const [times, , on] = u.data;
    const { ctx, bbox } = u;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    ctx.fillStyle = colour;
    for (let i = 0; i < times.length; i++) {
      if (!on[i]) continue;
      const from = u.valToPos(times[i], "x", true);
      const to = i + 1 < times.length ? u.valToPos(times[i + 1], "x", true) : bbox.left + bbox.width;
      ctx.fillRect(from, bbox.top, Math.max(1, to - from), bbox.height);
    }
    ctx.restore();
  };
  const drawLine = (value, colour) => (u) => {
    const y = u.valToPos(value, "y", true);
    const { ctx, bbox } = u;
    if (y < bbox.top || y > bbox.top + bbox.height) return;
    ctx.save();
    ctx.strokeStyle = colour;
    ctx.lineWidth = 1.5 * uPlot.pxRatio;
    ctx.setLineDash([6 * uPlot.pxRatio, 4 * uPlot.pxRatio]);
    ctx.beginPath();
    ctx.moveTo(bbox.left, y);
    ctx.lineTo(bbox.left + bbox.width, y);
    ctx.stroke();
    ctx.restore();
  };

  const build = (element, chart, width, colours, sync, height) => {
    const kind = KINDS[chart.kind](colours);
    const times = chart.times.map((ms) => chart.first + ms / 1000);
    const labels = kind.axis;
    const font = "11px system-ui, sans-serif";
    const axis = { stroke: colours.text, font, grid: { stroke: colours.grid, width: 1 }, ticks: { stroke: colours.grid, width: 1 } };
    const y = { ...axis, values: labels, size: (u, values) => (values ? 16 + 6.6 * Math.max(...values.map((v) => String(v ?? "").length)) : 50) };
    if (kind.splits) y.splits = () => kind.splits;
    const range = kind.range ? kind.range : (u, low, high) => {
      if (kind.line != null) [low, high] = [Math.min(low ?? kind.line, kind.line), Math.max(high ?? kind.line, kind.line)];
      if (kind.zero) low = 0;
      return uPlot.rangeNum(low, high, { min: { pad: kind.zero ? 0 : 0.08, soft: kind.zero ? 0 : undefined, mode: kind.zero ? 1 : 3 }, max: { pad: 0.08, mode: 3 } });
    };
    return new uPlot({
      width, height, tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
      cursor: { sync: { key: sync, scales: ["x", null] }, drag: { x: true, y: false }, y: false },
      scales: { x: { time: true }, y: { range } },
      axes: [{ ...axis, space: 84, values: moments }, y],
      series: [{ label: "UTC", value: (u, at) => (at == null ? "–" : `${day(new Date(at * 1000))} ${clock(new Date(at * 1000), 0)}`) }, ...kind.series.map((s) => ({ points: { show: false }, spanGaps: false, ...s }))],
      hooks: { drawAxes: [...(kind.shade ? [shadeProtection(kind.shade)] : []), ...(kind.line != null ? [drawLine(kind.line, colours.orange)] : [])] },
    }, [times, ...chart.columns], element);
  };

  const draw = (portfolio, forPrint) => {
    (groups.get(portfolio) ?? []).forEach(({ plot }) => plot.destroy());
    const number = Number(portfolio.dataset.number);
    const plots = [];
    for (const figure of portfolio.querySelectorAll("figure[data-chart]")) {
      const element = figure.querySelector(".plot");
      const width = forPrint ? PRINT.width : element.clientWidth;
      if (!width) continue;
      const colours = dark.matches && !forPrint ? DARK : LIGHT;
      plots.push({ element, plot: build(element, data.charts[number][Number(figure.dataset.chart)], width, colours, `portfolio-${number}`, forPrint ? PRINT.height : HEIGHT) });
    }
    groups.set(portfolio, plots);
    portfolio.querySelector(".tools").hidden = plots.length === 0;
  };

  const zoom = (plots, how) => {
    if (!plots.length) return;
    const { min, max } = plots[0].plot.scales.x;
    const times = plots[0].plot.data[0];
    const [first, last] = [times[0], times[times.length - 1]];
    const width = max - min;
    let [from, to] = { in: [min + width / 4, max - width / 4], out: [min - width / 2, max + width / 2], earlier: [min - width / 2, max - width / 2], later: [min + width / 2, max + width / 2], all: [first, last] }[how];
    if (from < first) [from, to] = [first, Math.min(last, first + (to - from))];
    if (to > last) [from, to] = [Math.max(first, last - (to - from)), last];
    plots.forEach(({ plot }) => plot.setScale("x", { min: from, max: to }));
  };

  const portfolios = [...document.querySelectorAll("details.portfolio")];
  for (const portfolio of portfolios) {
    portfolio.addEventListener("toggle", () => portfolio.open && !groups.get(portfolio)?.length && draw(portfolio));
    portfolio.querySelector(".tools").addEventListener("click", (event) => {
      const how = event.target.dataset?.zoom;
      if (how) zoom(groups.get(portfolio) ?? [], how);
    });
    if (portfolio.open) draw(portfolio);
  }
  const redraw = () => portfolios.filter((each) => each.open).forEach((each) => draw(each));
  dark.addEventListener("change", redraw);
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth === width) return; // a phone's address bar came or went
    width = innerWidth;
    for (const [portfolio, plots] of groups) if (portfolio.open) plots.forEach(({ element, plot }) => plot.setSize({ width: element.clientWidth, height: HEIGHT }));
  });

  // On paper all is open, light and sharp.
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = portfolios.filter((each) => !each.open);
    uPlot.pxRatio = 3;
    portfolios.forEach((each) => { each.open = true; draw(each, true); });
  });
  addEventListener("afterprint", () => {
    uPlot.pxRatio = devicePixelRatio;
    closed.forEach((each) => { each.open = false; });
    redraw();
  });

  const missing = document.getElementById("missing");
  const follow = () => {
    missing.hidden = true;
    if (location.hash.length < 2) return;
    const raw = location.hash.slice(1);
    let name = raw;
    try { name = decodeURIComponent(raw); } catch { /* as it is */ }
    const target = document.getElementById(raw) ?? document.getElementById(name);
    if (!target) {
      const [, what, id] = /^(order|portfolio)-(.*)$/s.exec(name) ?? [];
      if (what) {
        missing.textContent = what === "order" ? `Order ${id} is not among those that this page lists: each portfolio's last ones.` : `Portfolio ${id} has no charts on this page.`;
        missing.hidden = false;
      }
      return;
    }
    for (let element = target; element; element = element.parentElement) if (element.tagName === "DETAILS") element.open = true;
    document.querySelectorAll(".found").forEach((each) => each.classList.remove("found"));
    target.classList.add("found");
    requestAnimationFrame(() => target.scrollIntoView({ block: target.tagName === "TR" ? "center" : "start" }));
  };
  addEventListener("hashchange", follow);
  follow();
  document.documentElement.dataset.ready = "yes";
})();
