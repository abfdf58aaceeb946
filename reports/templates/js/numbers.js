// The page's data, and numbers in words. The scripts of this folder are joined into one function
// in the order of reports/page/assets.py.
const figures = JSON.parse(document.getElementById("figure-data").textContent);
const data = JSON.parse(document.getElementById("row-data").textContent);

// Numbers in words, as reports/text/wording.py has them.
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
  const [label, colour, methodLabel, run, target, workload, method, patchSize, kernel, device, dtype, batch,
    subject, workloadLabel, repeat] = data.cases[at].map((word) => data.words[word]);
  return {
    label, colour, methodLabel, subject, workloadLabel, repeat,
    data: { run, target, workload, method, patchSize, kernel, device, dtype, batch },
  };
}

// What Plotly would take for markup: names come from files and boards.
function plain(text) {
  const cut = text.length > 200 ? text.slice(0, 200) + "…" : text;
  return cut.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

function hoverOfRow(place) {
  const row = rowAt(place);
  const names = [row.case.data.workload, row.case.methodLabel, row.phase.replace(/_/g, " ")].filter(Boolean).join(" · ");
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

// A number as the export writes it: Python's repr of a float.
function pythonic(value) {
  if (Number.isInteger(value) && Math.abs(value) < 1e16) return value + ".0";
  const magnitude = Math.abs(value);
  if (magnitude < 1e-4 || magnitude >= 1e16) return value.toExponential().replace(/e([+-])(\d)$/, "e$10$2");
  return String(value);
}
