// The figures: drawn when they come into view, again when a filter, a view or the theme changes.
const plots = Array.from(document.querySelectorAll(".plot"));
const dirty = new Set(plots);
const near = new Set();
const ROW_PX = 20; // as reports/charts/axes.py has it
const config = { responsive: true, displaylogo: false, displayModeBar: false };
// A finger that moves over a figure moves the page.
const dragmode = matchMedia("(pointer: coarse)").matches ? false : "zoom";

const chartOf = (plot) => plot.closest("figure").dataset.chart;
const figureOf = (plot) => figures[chartOf(plot)][Number(plot.dataset.panel)];

// Figures carry numbers only; the texts come from the same data as the tables.
function completed(figure, chart) {
  figure.data.forEach((trace) => {
    const meta = trace.meta || {};
    if (meta.rows) {
      trace.hovertext = meta.rows.map((rows) => plain([].concat(rows).map(hoverOfRow).join(" — ")));
    }
    if (meta.table) trace.hovertext = meta.table.map((place) => plain(hoverOfTable(chart, place)));
    if (meta.texts) trace.text = meta.texts.at.map((place) => meta.texts.words[place]);
  });
  figure.complete = true;
}

function colourOf(name) {
  const probe = element("span");
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const colour = getComputedStyle(probe).color;
  probe.remove();
  return colour;
}

function tokens() {
  const font = getComputedStyle(document.documentElement).getPropertyValue("--sans").trim();
  return { ink: colourOf("--ink"), muted: colourOf("--muted"), line: colourOf("--line"), card: colourOf("--card"), font };
}

function themed(layout) {
  const t = tokens();
  const next = structuredClone(layout);
  next.font = { family: t.font, size: 12, color: t.ink };
  next.hoverlabel = Object.assign({}, next.hoverlabel, {
    bgcolor: t.card, bordercolor: t.line, font: { color: t.ink, family: t.font },
  });
  next.dragmode = dragmode;
  Object.keys(next).filter((key) => /^[xy]axis\d*$/.test(key)).forEach((key) => {
    Object.assign(next[key], {
      gridcolor: t.line, linecolor: t.line, tickcolor: t.line, tickfont: { color: t.muted },
    });
    if (next[key].title) next[key].title.font = { color: t.muted, size: 12 };
  });
  (next.shapes || []).filter((s) => s.name === "reference").forEach((s) => { s.line.color = t.muted; });
  return next;
}

function viewOf(plot) {
  const views = (figureOf(plot).layout.meta || {}).views;
  const chosen = state.views[chartOf(plot)];
  return views ? (views[chosen] ? chosen : Object.keys(views)[0]) : "";
}

// Rows of a chart are workloads, unless it says that they are targets or methods.
function keepsLabel(meta, label) {
  return meta.of ? allows(meta.of, label) : matches(label);
}

// Which points of a trace the filters leave.
function keptOf(trace, chart, labels, meta) {
  const about = trace.meta || {};
  const count = (trace.y || trace.x || []).length;
  const columns = (data.tables[chart] || {}).columns;
  return Array.from({ length: count }, (_, point) => point).filter((point) => {
    if (about.rows) return [].concat(about.rows[point]).every((place) => matches(caseAt(data.rows[place][0]).workloadLabel));
    if (about.texts) return matches(about.texts.words[about.texts.at[point]]);
    if (about.table && !showsLine(columns, about.table[point])) return false;
    if (!labels || about.total) return true;
    return keepsLabel(meta, labels[Math.round(trace.y[point])]);
  });
}

// Every array of the trace that has one entry per point, with the kept entries only.
function picked(value, count, kept) {
  if (Array.isArray(value)) return value.length === count ? kept.map((point) => value[point]) : value;
  if (!value || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, picked(inner, count, kept)]));
}

function overExact(trace) {
  const over = trace.meta.over.map((place) => (place === null ? null : data.rows[place][3]));
  const by = (values) => values && values.map((value, point) => (value === null || !over[point] ? null : value / over[point]));
  const next = Object.assign({}, trace, { x: by(trace.x) });
  if (trace.error_x) {
    next.error_x = Object.assign({}, trace.error_x, { array: by(trace.error_x.array), arrayminus: by(trace.error_x.arrayminus) });
  }
  next.hovertext = trace.hovertext.map((text, point) => (
    next.x[point] === null ? text : `${text}: ${significant(next.x[point], 3)}× that of exact`));
  return next;
}

// The rows of a chart that the filters leave, moved together.
function withRows(traces, layout) {
  const meta = layout.meta;
  const last = meta.labels.length - 1;
  const keeps = (label, place) => (meta.total && place === last) || keepsLabel(meta, label);
  const places = new Map();
  meta.labels.forEach((label, place) => { if (keeps(label, place)) places.set(place, places.size); });
  traces.forEach((trace) => {
    if (trace.y) trace.y = trace.y.map((y) => (places.has(Math.round(y)) ? places.get(Math.round(y)) + y - Math.round(y) : y));
  });
  layout.shapes = (layout.shapes || []).filter((shape) => {
    const row = Math.round((shape.y0 + shape.y1) / 2);
    if (shape.yref !== "y" || !places.has(row)) return shape.yref !== "y";
    shape.y0 += places.get(row) - row;
    shape.y1 += places.get(row) - row;
    return true;
  });
  layout.yaxis.ticktext = Array.from(places.keys(), (place) => layout.yaxis.ticktext[place]);
  layout.yaxis.tickvals = Array.from(places.values());
  layout.yaxis.range = [Math.max(0, places.size - 1) + 0.55, -0.55];
  layout.height = 80 + Math.max(150, places.size * Math.max(2, meta.lines) * ROW_PX);
}

function drawnAs(plot) {
  const figure = figureOf(plot);
  const chart = chartOf(plot);
  if (!figure.complete) completed(figure, chart);
  const layout = themed(figure.layout);
  const meta = layout.meta || {};
  const view = viewOf(plot);
  let traces = figure.data.filter((trace) => {
    const about = trace.meta || {};
    return allows("method", about.method) && allows("phase", about.phase);
  }).map((trace) => (view.startsWith("ratio") && (trace.meta || {}).over ? overExact(trace) : Object.assign({}, trace)));
  if (layout.annotations) {
    layout.annotations = layout.annotations.filter((arrow) => allows("method", arrow.name));
  }
  if (view) layout.xaxis = Object.assign({}, layout.xaxis, { range: undefined, type: undefined }, themed({ xaxis: meta.views[view] }).xaxis);
  if (isFiltered()) {
    traces = traces.map((trace) => {
      const count = (trace.y || trace.x || []).length;
      const kept = keptOf(trace, chart, meta.labels, meta);
      return kept.length === count ? trace : picked(trace, count, kept);
    });
    if (meta.labels) withRows(traces, layout);
  }
  traces.filter((trace) => trace.meta && trace.meta.ink).forEach((trace) => {
    trace.error_x = Object.assign({}, trace.error_x, { color: colourOf("--ink") });
  });
  delete layout.meta;
  return { traces, layout };
}

function draw(plot) {
  dirty.delete(plot);
  if (plot.closest("[hidden]")) {
    dirty.add(plot);
    return;
  }
  try {
    const { traces, layout } = drawnAs(plot);
    plot.style.minHeight = `${layout.height}px`;
    Plotly.react(plot, traces, layout, config);
    if (!plot.dataset.drawn) plot.on("plotly_click", (event) => clicked(event));
    plot.dataset.drawn = "true";
  } catch (error) {
    // The table says the same: open it instead of leaving a hole.
    const table = plot.closest("figure").querySelector("details");
    if (table) table.open = true;
    plot.textContent = "This figure cannot be drawn here; its numbers are in the table.";
  }
}

function drawNear() {
  near.forEach((plot) => { if (dirty.has(plot)) draw(plot); });
}

function drawAll() {
  plots.forEach((plot) => { if (dirty.has(plot)) draw(plot); });
}

function redraw() {
  plots.forEach((plot) => dirty.add(plot));
  drawNear();
}

function watchPlots() {
  const observer = new IntersectionObserver((entries) => {
    entries.forEach((entry) => (entry.isIntersecting ? near.add(entry.target) : near.delete(entry.target)));
    drawNear();
  }, { rootMargin: "800px" });
  plots.forEach((plot) => observer.observe(plot));
  listeners.push(redraw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  matchMedia("print").addEventListener("change", () => { redraw(); drawAll(); });
  addEventListener("beforeprint", drawAll);
}
