// Drawing: every figure follows the theme of the page and the filters.
gf.draw = (function () {
  const config = {
    responsive: true, displaylogo: false,
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d"],
    toImageButtonOptions: { format: "png", scale: 2 },
  };

  // A colour may depend on the theme: ask for what it comes to.
  function tokens() {
    const probe = gf.element("span");
    document.body.append(probe);
    const token = (name) => { probe.style.color = `var(${name})`; return getComputedStyle(probe).color; };
    const font = getComputedStyle(document.documentElement).getPropertyValue("--sans").trim();
    const found = { ink: token("--ink"), muted: token("--muted"), line: token("--line"), card: token("--card"), good: token("--good"), bad: token("--bad"), font };
    probe.remove();
    return found;
  }

  function themed(layout) {
    const t = tokens();
    const axis = (one) => Object.assign({ automargin: true, zeroline: false, gridcolor: t.line, linecolor: t.line, tickcolor: t.line, tickfont: { color: t.muted } }, one, {
      title: Object.assign({ standoff: 8 }, one.title, { font: { color: t.muted, size: 12 } }),
    });
    return Object.assign({
      autosize: true, showlegend: false, hovermode: "closest", margin: { l: 12, r: 12, t: 8, b: 44 },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { family: t.font, size: 12, color: t.ink },
      hoverlabel: { align: "left", bgcolor: t.card, bordercolor: t.line, font: { color: t.ink, family: t.font } },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: t.muted, activecolor: t.ink },
    }, layout, { xaxis: axis(layout.xaxis), yaxis: axis(layout.yaxis) });
  }

  function react(plot, data, layout) {
    try {
      plot.style.minHeight = layout.height + "px";
      Plotly.react(plot, data, themed(layout), config);
    } catch (error) {
      plot.textContent = "This figure cannot be drawn here; its numbers are in the table.";
    }
  }

  function legend(figure, entries) {
    const list = figure.querySelector("[data-legend]");
    list.replaceChildren(...entries.map(([text, colour, glyph]) => {
      const item = gf.element("li");
      const mark = gf.element("span", glyph || "■", { "aria-hidden": "true" });
      mark.style.color = colour;
      item.append(mark, " " + text);
      return item;
    }));
  }

  // Ticks that name their unit: an axis of seconds or bytes reads ms or MiB.
  function ticks(values, unit, log) {
    const top = Math.max(...values), bottom = Math.min(...values);
    if (!log) {
      const [scale] = gf.scaleOf(top, unit);
      const span = top / scale;
      const step = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500].find((one) => span / one <= 7) || 1000;
      const at = Array.from({ length: Math.floor((span * 1.08) / step) + 1 }, (_, n) => n * step * scale);
      return { tickvals: at, ticktext: at.map((value) => label(value, unit, scale)), range: [0, top * 1.08], type: "linear" };
    }
    const low = bottom / 1.15, high = top * 1.15;
    const series = high / low < 4 ? [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8] : high / low > 1000 ? [1] : [1, 2, 5];
    const at = [];
    for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); e += 1) {
      series.forEach((m) => { const value = m * 10 ** e; if (value >= low && value <= high) at.push(value); });
    }
    return { tickvals: at, ticktext: at.map((value) => label(value, unit)), range: [Math.log10(low), Math.log10(high)], type: "log" };
  }

  function label(value, unit, fixed) {
    if (value === 0) return "0";
    const [scale, symbol] = fixed ? [fixed, gf.scaleOf(fixed, unit)[1]] : gf.scaleOf(value, unit);
    return Number((value / scale).toPrecision(3)) + symbol;
  }

  return { react, legend, ticks, tokens };
})();

// One dot per method and row of a table, with its interval.
gf.forest = function (figure) {
  const table = document.getElementById(figure.dataset.table);
  const plot = figure.querySelector(".plot");
  const heads = Array.from(table.tHead.rows[0].cells);
  const columns = heads.map((head, place) => ({ head, place })).filter(({ head, place }) => head.dataset.figure
    && Array.from(table.tBodies[0].rows).some((row) => "value" in row.cells[place].dataset));
  const box = figure.querySelector("[data-of]");
  if (!columns.length) {
    plot.textContent = "Nothing has been measured yet.";
    plot.style.minHeight = "0";
    return () => {};
  }
  const all = Array.from(table.tBodies[0].rows).map((row) => [row.dataset.target, row.dataset.workload]);
  const different = [0, 1].filter((n) => new Set(all.map((names) => names[n])).size > 1);
  const keyOf = ({ head }) => [head.dataset.figure, head.dataset.phase].filter(Boolean).join(".");
  gf.select(box, "figure", "figure", columns.map((one) => [keyOf(one), titleOf(one)]), keyOf(columns[0]));
  gf.toggle(box, "x", ["linear", "log"]);
  gf.toggle(box, "view", ["absolute", "ratio"]);

  function titleOf({ head }) {
    const plainTitle = head.dataset.title;
    return head.dataset.figure === "latency_s" ? `latency of the ${plainTitle}` : plainTitle;
  }

  function read(place) {
    return Array.from(table.tBodies[0].rows).filter((row) => !row.hidden && "value" in row.cells[place].dataset).map((row) => {
      const cell = row.cells[place].dataset;
      const names = [row.dataset.target, row.dataset.workload];
      return { row: row.dataset, names, exact: "exact" in row.dataset, value: +cell.value, low: "low" in cell ? +cell.low : null, high: "high" in cell ? +cell.high : null, unit: cell.unit };
    });
  }

  // What a row is relative to: the fastest or smallest exact one of the same target and workload.
  function asRatios(points) {
    const base = new Map();
    const key = (p) => [...p.names, p.row.setting].join("\n");
    points.filter((p) => p.exact).forEach((p) => base.set(key(p), Math.min(p.value, base.get(key(p)) || Infinity)));
    return points.filter((p) => base.has(key(p))).map((p) => {
      const by = base.get(key(p));
      return Object.assign({}, p, { value: p.value / by, low: p.low === null ? null : p.low / by, high: p.high === null ? null : p.high / by, unit: "1", ratio: true });
    });
  }

  return function () {
    const column = columns.find((one) => keyOf(one) === gf.state.one("figure", "")) || columns[0];
    const title = titleOf(column);
    const already = /speedup|cosine/.test(column.head.dataset.figure);
    const ratio = gf.state.one("view", "absolute") === "ratio" && !already;
    let points = read(column.place);
    if (ratio) points = asRatios(points);
    if (!points.length) { Plotly.purge(plot); plot.textContent = "No figures here with these filters."; return; }
    if (!plot.querySelector(".main-svg")) plot.replaceChildren();
    const settings = new Set(points.map((p) => p.row.setting)).size > 1;
    const labelOf = (p) => [...(different.length ? different : [1]).map((n) => p.names[n]), settings ? p.row.setting : ""].filter(Boolean).join(" · ");
    const labels = Array.from(new Set(points.map(labelOf)));
    const methods = new Map(points.map((p) => [p.row.method, p.row.colour]));
    const names = Array.from(methods.keys());
    const offset = (p) => (names.indexOf(p.row.method) - (names.length - 1) / 2) * (0.7 / Math.max(1, names.length));
    const data = names.map((name) => {
      const own = points.filter((p) => p.row.method === name);
      return {
        type: "scatter", mode: "markers", name: gf.plain(name), marker: { color: methods.get(name), size: 9 },
        x: own.map((p) => p.value), y: own.map((p) => labels.indexOf(labelOf(p)) + offset(p)),
        error_x: { type: "data", symmetric: false, array: own.map((p) => (p.high === null ? 0 : p.high - p.value)), arrayminus: own.map((p) => (p.low === null ? 0 : p.value - p.low)), color: methods.get(name), thickness: 1.5, width: 3 },
        hovertext: own.map((p) => gf.plain(`${labelOf(p)} · ${name}: ${gf.quantity(p.value, p.unit)}${p.low === null ? "" : ` (95 %: ${gf.interval(p.low, p.high, p.unit)})`}`)), hoverinfo: "text",
      };
    });
    const ends = points.flatMap((p) => [p.value, p.low, p.high]).filter((value) => value !== null && value > 0);
    const unit = points[0].unit;
    const one = already && column.head.dataset.figure === "speedup" || ratio;
    const log = gf.state.one("x", "linear") === "log";
    const axis = gf.draw.ticks(one ? [...ends, 1] : ends, unit, log);
    const narrow = plot.clientWidth < 560;
    const cut = narrow ? 16 : 30;
    gf.draw.react(plot, data, {
      height: 90 + Math.max(110, labels.length * Math.max(2, names.length) * 13),
      xaxis: Object.assign(axis, { title: { text: ratio ? `${title}, relative to exact` : title } }),
      yaxis: { tickvals: labels.map((_, n) => n), ticktext: labels.map((text) => gf.plain(text.length > cut ? text.slice(0, cut - 1) + "…" : text)), range: [labels.length - 0.5, -0.5], showgrid: false },
      shapes: one ? [{ type: "line", x0: 1, x1: 1, yref: "paper", y0: 0, y1: 1, line: { width: 1, dash: "dash", color: gf.draw.tokens().muted } }] : [],
    });
    gf.draw.legend(figure, names.map((name) => [name, methods.get(name)]));
  };
};
