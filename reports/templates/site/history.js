// A workload on a target over time: dots, levels, changes and marks.
gf.history = function (figure, data) {
  const plot = figure.querySelector(".plot");
  const box = figure.querySelector("[data-of]");
  const GLYPHS = { regression: "triangle-up", improvement: "triangle-down", watched: "circle-open" };
  const keys = Array.from(new Map(data.lines.map((line) => [`${line.metric}.${line.phase}`, line])).entries());
  if (!keys.length) { plot.textContent = "Nothing has been measured yet."; return () => {}; }
  const preferred = keys.find(([key]) => key === "latency_s.step") || keys[0];
  gf.select(box, "figure", "figure", keys.map(([key, line]) => [key, [data.metrics[line.metric], line.phase].filter(Boolean).join(", ")]), preferred[0]);
  gf.toggle(box, "y", ["linear", "log"]);
  gf.toggle(box, "view", ["absolute", "ratio"]);
  gf.toggle(box, "axis", ["time", "runs"]);
  document.querySelectorAll("[data-count]").forEach((place) => {
    place.textContent = `${data.runs} runs, drawn as ${data.points.length} points`;
  });
  const dated = data.points.every((point) => point[0] !== null);
  const when = (ms) => (ms === null ? "" : new Date(ms).toISOString().slice(0, 16).replace("T", " "));

  function shown() {
    const key = gf.state.one("figure", preferred[0]);
    const found = data.lines.filter((line) => `${line.metric}.${line.phase}` === key);
    return (found.length ? found : data.lines.filter((line) => line.metric === preferred[1].metric && line.phase === preferred[1].phase))
      .filter((line) => gf.filters.passes({ method: line.method, setting: line.setting }));
  }

  function baseOf(line) {
    const first = line.levels[0];
    return first ? first.centre : line.value.find((value) => value !== null) || 1;
  }

  function nameOf(line, settings) {
    return settings ? `${line.method} · ${line.setting}` : line.method;
  }

  function tracesOf(line, view, xs, name) {
    const by = view === "ratio" ? baseOf(line) : 1;
    const scaled = (value) => (value === null ? null : value / by);
    const present = line.value.map((value, n) => n).filter((n) => line.value[n] !== null);
    const words = (n) => {
      const [ms, , count, run] = data.points[n];
      const span = gf.interval(line.low[n], line.high[n], line.unit);
      return gf.plain(`${name}: ${gf.quantity(line.value[n], line.unit)}${span ? ` (${count > 1 ? `${count} runs: ` : "95 %: "}${span})` : ""} · ${when(ms)} · ${run}`);
    };
    const dots = {
      type: "scatter", mode: "markers", x: present.map((n) => xs[n]), y: present.map((n) => scaled(line.value[n])),
      marker: { color: line.colour, size: present.map((n) => (data.points[n][2] > 1 ? 6 : 4.5)), opacity: 0.55 },
      error_y: { type: "data", symmetric: false, visible: true, color: line.colour, thickness: 0.6, width: 0,
        array: present.map((n) => (line.high[n] === null ? 0 : (line.high[n] - line.value[n]) / by)),
        arrayminus: present.map((n) => (line.low[n] === null ? 0 : (line.value[n] - line.low[n]) / by)) },
      hovertext: present.map(words), hoverinfo: "text", customdata: present.map((n) => data.points[n][4]),
    };
    const x = [], y = [], text = [];
    line.levels.filter((level) => level.from !== undefined && level.from !== null && level.to !== null).forEach((level) => {
      x.push(xs[level.from], xs[level.to], null);
      y.push(level.centre / by, level.centre / by, null);
      const said = gf.plain(`${name}: level ${level.words} over ${level.runs} runs`);
      text.push(said, said, "");
    });
    const levels = { type: "scatter", mode: "lines", x, y, hovertext: text, hoverinfo: "text", line: { color: line.colour, width: 2.5 }, connectgaps: false };
    const found = line.changes.filter((change) => change.at !== null && change.at !== undefined);
    const t = gf.draw.tokens();
    const tint = { regression: t.bad, improvement: t.good, watched: t.muted };
    const changes = {
      type: "scatter", mode: "markers", x: found.map((c) => xs[c.at]), y: found.map((c) => scaled(line.value[c.at])),
      marker: { symbol: found.map((c) => GLYPHS[c.verdict]), size: 13, color: found.map((c) => tint[c.verdict]), line: { width: 1.5, color: found.map((c) => tint[c.verdict]) } },
      hovertext: found.map((c) => gf.plain(`${name}: ${c.verdict}, ${c.words} since ${c.run}`)), hoverinfo: "text", customdata: found.map((c) => c.page),
    };
    return [dots, levels, changes];
  }

  function marksOf(order) {
    return data.marks.map((mark) => {
      const place = order ? data.points.findIndex((point) => point[0] >= mark.t) : null;
      return { type: "line", x0: order ? place - 0.5 : mark.t, x1: order ? place - 0.5 : mark.t, yref: "paper", y0: 0, y1: 1, line: { width: 1, dash: mark.kind === "machine" ? "dash" : "dot", color: gf.draw.tokens().muted } };
    });
  }

  function yAxis(lines, view, log) {
    const unit = view === "ratio" ? "1" : lines[0].unit;
    const values = lines.flatMap((line) => {
      const by = view === "ratio" ? baseOf(line) : 1;
      return [...line.value, ...line.low, ...line.high].filter((value) => value !== null && value > 0).map((value) => value / by);
    });
    const title = [data.metrics[lines[0].metric], lines[0].phase].filter(Boolean).join(" of the ");
    if (view === "ratio" && !log) {
      // Room around the noise: a spread of 1 % must not look like a cliff.
      const low = Math.min(...values, 0.95), high = Math.max(...values, 1.05);
      return { title: { text: `${title}, relative to its first level` }, range: [low - 0.02 * (high - low), high + 0.02 * (high - low)], type: "linear" };
    }
    return Object.assign(gf.draw.ticks(values, unit, log), { title: { text: view === "ratio" ? `${title}, relative to its first level` : title } });
  }

  function tables(lines, settings) {
    const body = gf.head(document.getElementById("steps"), [["method"], ["change"], ["size"], ["since run"], ["runs since", true], ["kernel"]]);
    lines.forEach((line) => line.changes.forEach((change) => {
      const row = body.insertRow();
      const link = gf.element("a", change.run, { href: `../../runs/${change.page}/index.html` });
      const at = gf.element("td");
      at.append(link);
      row.append(gf.element("td", nameOf(line, settings)), gf.element("td", change.verdict, { class: { regression: "bad", improvement: "good" }[change.verdict] || "quiet" }), gf.element("td", change.words), at, gf.numberCell(change.since, null, null, "1", String(change.since)), gf.element("td", change.kernel ? "changed in this run" : "the same"));
    }));
    if (!body.rows.length) body.insertRow().append(gf.element("td", "No change in this figure.", { colspan: 6, class: "quiet" }));
    const levels = gf.head(document.getElementById("levels"), [["method"], ["level", true], ["95 % interval", true], ["runs", true], ["first"], ["last"], ["machine"]]);
    lines.forEach((line) => line.levels.forEach((level) => {
      const [value, span] = level.words.split(" (");
      const centre = gf.numberCell(level.centre, null, null, line.unit, value);
      levels.insertRow().append(gf.element("td", nameOf(line, settings)), centre, gf.element("td", span ? span.slice(0, -1) : "", { class: "num" }), gf.element("td", level.runs, { class: "num" }), gf.element("td", level.first), gf.element("td", level.last), gf.element("td", level.machine || "unknown"));
    }));
    const points = gf.head(document.getElementById("points"), [["method"], ["time"], ["run"], ["runs", true], ["value", true], ["low", true], ["high", true]]);
    lines.forEach((line) => line.value.forEach((value, n) => {
      if (value === null) return;
      const [ms, , count, run] = data.points[n];
      points.insertRow().append(gf.element("td", nameOf(line, settings)), gf.element("td", when(ms)), gf.element("td", run), gf.element("td", count, { class: "num" }), gf.numberCell(value, null, null, line.unit), gf.numberCell(line.low[n], null, null, line.unit), gf.numberCell(line.high[n], null, null, line.unit));
    }));
  }

  function draw() {
    const lines = shown();
    if (!lines.length) { Plotly.purge(plot); plot.textContent = "No figures here with these filters."; tables([], false); return; }
    if (!plot.querySelector(".main-svg")) plot.replaceChildren();
    const view = gf.state.one("view", "absolute");
    const order = gf.state.one("axis", "time") === "runs" || !dated;
    const xs = order ? data.points.map((_, n) => n) : data.points.map((point) => point[0]);
    const settings = new Set(lines.map((line) => line.setting)).size > 1;
    gf.draw.react(plot, lines.flatMap((line) => tracesOf(line, view, xs, nameOf(line, settings))), {
      height: 430,
      xaxis: { type: order ? "linear" : "date", title: { text: order ? "points in order" : "time (UTC)" }, showgrid: false },
      yaxis: yAxis(lines, view, gf.state.one("y", "linear") === "log"),
      shapes: marksOf(order),
    });
    const t = gf.draw.tokens();
    gf.draw.legend(figure, [...lines.map((line) => [nameOf(line, settings), line.colour]), ["regression", t.bad, "▲"], ["improvement", t.good, "▼"], ["watched", t.muted, "○"]]);
    tables(lines, settings);
  }

  let listening = false;
  return function () {
    draw();
    if (!listening && plot.on) {
      listening = true;
      plot.on("plotly_click", (event) => {
        const page = event.points[0].customdata;
        if (page) location.href = `../../runs/${encodeURIComponent(page)}/index.html`;
      });
    }
  };
};

gf.methodsOf = function (data) {
  return (dim) => Array.from(new Set(data.lines.map((line) => line[dim])));
};
