"use strict";
(function () {
  const figures = JSON.parse(document.getElementById("figure-data").textContent);
  const data = JSON.parse(document.getElementById("row-data").textContent);
  const plots = Array.from(document.querySelectorAll(".plot"));
  const config = {
    responsive: true,
    displaylogo: false,
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d"],
    toImageButtonOptions: { format: "png", scale: 2 },
  };

  // Numbers in words, as reports/wording.py has them.
  function significant(value, digits) {
    if (value === 0) return "0";
    const exponent = Math.floor(Math.log10(Math.abs(value)));
    if (exponent < -4 || exponent >= 7) {
      return value.toExponential(digits - 1).replace(/e([+-])(\d)$/, "e$10$2");
    }
    return value.toFixed(Math.max(0, digits - 1 - exponent));
  }

  function scaleOf(value, unit) {
    const steps = data.prefixes[unit];
    if (!steps) return [1, unit in data.symbols ? data.symbols[unit] : " " + unit];
    const [scale, symbol] = steps.find((step) => Math.abs(value) >= step[0]) || steps[steps.length - 1];
    return [scale, " " + symbol];
  }

  function quantity(value, unit, digits = 3) {
    if (value === null) return "—";
    const [scale, symbol] = scaleOf(value, unit);
    return significant(value / scale, digits) + symbol;
  }

  function interval(low, high, unit) {
    if (low === null || high === null) return "";
    const [scale, symbol] = scaleOf(Math.max(Math.abs(low), Math.abs(high)), unit);
    return `${significant(low / scale, 3)} to ${significant(high / scale, 3)}${symbol}`;
  }

  function rowAt(place) {
    const [at, metric, phase, value, low, high, n, status, reason] = data.rows[place];
    const name = data.words[metric];
    const [label, unit] = data.metrics[name];
    return {
      case: caseAt(at), at, metric: name, label, phase: data.words[phase], value, low, high, n,
      text: quantity(value, unit), span: interval(low, high, unit),
      status: data.words[status], reason: data.words[reason],
    };
  }

  function caseAt(at) {
    const [label, colour, methodLabel, run, target, workload, method, patchSize, kernel, device, dtype, batch] =
      data.cases[at].map((word) => data.words[word]);
    return { label, colour, methodLabel, data: { run, target, workload, method, patchSize, kernel, device, dtype, batch } };
  }

  // What Plotly would take for markup: names come from files and boards.
  function plain(text) {
    const cut = text.length > 200 ? text.slice(0, 200) + "…" : text;
    return cut.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  }

  function hoverOfRow(place) {
    const row = rowAt(place);
    const names = [row.case.data.workload, row.case.methodLabel, row.phase].filter(Boolean).join(" · ");
    return `${names}: ${row.text}${row.span ? ` (95 %: ${row.span})` : ""}`;
  }

  function cellOf(column, place) {
    if (column.words) return { text: data.words[column.words[place]] };
    const value = column.values[place];
    return { text: quantity(value, column.unit, column.digits), value };
  }

  function hoverOfTable(chart, place) {
    return data.tables[chart].columns.map((column) => {
      const text = cellOf(column, place).text;
      return column.name.match(/^(block|round)$/) ? `${column.name} ${text}` : text;
    }).join(" · ");
  }

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
  }

  function element(name, text, attributes) {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    Object.entries(attributes || {}).forEach(([key, value]) => made.setAttribute(key, value));
    return made;
  }

  function number(text, values) {
    const cell = element("td", text, { class: "num" });
    Object.entries(values).forEach(([key, value]) => {
      if (value !== null) cell.dataset[key] = pythonic(value);
    });
    return cell;
  }

  // A number as the export writes it: Python's repr of a float.
  function pythonic(value) {
    if (Number.isInteger(value) && Math.abs(value) < 1e16) return value + ".0";
    const magnitude = Math.abs(value);
    if (magnitude < 1e-4 || magnitude >= 1e16) return value.toExponential().replace(/e([+-])(\d)$/, "e$10$2");
    return String(value);
  }

  function head(table, names) {
    const row = table.createTHead().insertRow();
    names.forEach((name) => row.append(element("th", name, { scope: "col" })));
  }

  function tableOfRows(table, places) {
    head(table, ["target", "workload", "method", "phase", "value", "95 % interval", "rounds", "status"]);
    const body = table.createTBody();
    places.forEach((place) => {
      const row = rowAt(place);
      const about = row.case.data;
      const texts = [about.target, `${about.workload} b${about.batch}`, row.case.methodLabel, row.phase.replace(/_/g, " ")];
      const line = body.insertRow();
      line.append(...texts.map((text) => element("td", text)));
      line.append(number(row.text, { value: row.value }), number(row.span, { low: row.low, high: row.high }));
      line.append(element("td", row.n), element("td", row.status === "ok" ? "ok" : `${row.status}: ${row.reason}`));
    });
  }

  function tableOfColumns(table, columns) {
    head(table, columns.map((column) => column.name));
    const body = table.createTBody();
    const count = (columns[0].words || columns[0].values).length;
    for (let place = 0; place < count; place += 1) {
      body.insertRow().append(...columns.map((column) => {
        const cell = cellOf(column, place);
        return "value" in cell ? number(cell.text, { value: cell.value }) : element("td", cell.text);
      }));
    }
  }

  function tableOfSubject(table, [first, end]) {
    let body, at;
    for (let place = first; place < end; place += 1) {
      const row = rowAt(place);
      if (row.at !== at) {
        at = row.at;
        body = table.createTBody();
        body.className = "case";
        Object.assign(body.dataset, row.case.data);
        const name = element("th", undefined, { colspan: 7, scope: "rowgroup" });
        const dot = element("span", undefined, { class: "dot" });
        dot.style.background = row.case.colour;
        name.append(dot, row.case.label);
        body.insertRow().append(name);
      }
      const line = body.insertRow();
      line.dataset.metric = row.metric;
      line.dataset.phase = row.phase;
      const status = element("td");
      status.append(element("span", row.status, { class: "status status-" + row.status }));
      line.append(
        element("td", row.label), element("td", row.phase.replace(/_/g, " ")),
        number(row.text, { value: row.value }), number(row.span, { low: row.low, high: row.high }),
        element("td", row.n, { class: "num" }), status, element("td", row.reason, { class: "reason" }),
      );
    }
  }

  function writeTables() {
    document.querySelectorAll("table[data-subject]").forEach((table) => {
      tableOfSubject(table, data.subjects[Number(table.dataset.subject)]);
    });
    document.querySelectorAll("table[data-table]").forEach((table) => {
      const source = data.tables[table.dataset.table];
      if (Array.isArray(source)) tableOfRows(table, source);
      else tableOfColumns(table, source.columns);
    });
  }

  function tokens() {
    const style = getComputedStyle(document.documentElement);
    const token = (name) => style.getPropertyValue(name).trim();
    return { ink: token("--ink"), muted: token("--muted"), line: token("--line"), card: token("--card"), font: token("--sans") };
  }

  function themed(layout) {
    const t = tokens();
    const next = structuredClone(layout);
    next.font = { family: t.font, size: 12, color: t.ink };
    next.legend = Object.assign({}, next.legend, { font: { color: t.ink, size: 12 } });
    next.hoverlabel = Object.assign({}, next.hoverlabel, {
      bgcolor: t.card, bordercolor: t.line, font: { color: t.ink, family: t.font },
    });
    next.modebar = { bgcolor: "rgba(0,0,0,0)", color: t.muted, activecolor: t.ink };
    Object.keys(next).filter((key) => /^[xy]axis\d*$/.test(key)).forEach((key) => {
      Object.assign(next[key], {
        gridcolor: t.line, linecolor: t.line, tickcolor: t.line, tickfont: { color: t.muted },
      });
      if (next[key].title) next[key].title.font = { color: t.muted, size: 12 };
    });
    (next.shapes || []).filter((s) => s.name === "reference").forEach((s) => { s.line.color = t.muted; });
    return next;
  }

  function figureOf(plot) {
    return figures[plot.dataset.chart][Number(plot.dataset.panel)];
  }

  function drawAll() {
    plots.forEach((plot) => {
      const figure = figureOf(plot);
      try {
        figure.data.filter((trace) => trace.meta && trace.meta.ink).forEach((trace) => { trace.error_x.color = tokens().ink; });
        Plotly.react(plot, figure.data, themed(figure.layout), config);
      } catch (error) {
        // The table says the same: open it instead of leaving a hole.
        const table = plot.closest("figure").querySelector("details");
        if (table) table.open = true;
        plot.textContent = "This figure cannot be drawn here; its numbers are in the table.";
      }
    });
  }

  function copied(button) {
    const source = document.getElementById(button.dataset.copy);
    const range = document.createRange();
    range.selectNodeContents(source);
    const selection = getSelection();
    selection.removeAllRanges();
    selection.addRange(range);
    // file:// has no clipboard API in some browsers; the selection remains for Ctrl-C.
    const done = () => { button.textContent = "copied"; };
    if (navigator.clipboard) navigator.clipboard.writeText(source.textContent).then(done, () => {});
  }

  Object.entries(figures).forEach(([chart, panels]) => {
    panels.filter((figure) => figure.data).forEach((figure) => completed(figure, chart));
  });
  writeTables();
  drawAll();
  document.querySelectorAll("button[data-copy]").forEach((button) => {
    button.hidden = false;
    button.addEventListener("click", () => copied(button));
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  matchMedia("print").addEventListener("change", drawAll);
  document.documentElement.dataset.drawn = "true";
})();
