// Numbers in words, as reports/text/wording.py has them; WORDING comes from there.
const gf = {};

gf.significant = function (value, digits = 3) {
  if (value === 0) return "0";
  const exponent = Math.floor(Math.log10(Math.abs(value)));
  if (exponent < -4 || exponent >= 7) {
    return value.toExponential(digits - 1).replace(/e([+-])(\d)$/, "e$10$2");
  }
  return value.toFixed(Math.max(0, digits - 1 - exponent));
};

gf.scaleOf = function (value, unit) {
  const steps = WORDING.prefixes[unit];
  if (!steps) return [1, unit in WORDING.symbols ? WORDING.symbols[unit] : " " + unit];
  const [scale, symbol] = steps.find((step) => Math.abs(value) >= step[0]) || steps[steps.length - 1];
  return [scale, " " + symbol];
};

gf.quantity = function (value, unit) {
  if (value === null || value === undefined) return "—";
  const [scale, symbol] = gf.scaleOf(value, unit);
  return gf.significant(value / scale) + symbol;
};

gf.interval = function (low, high, unit) {
  if (low === null || high === null || low === undefined || high === undefined) return "";
  const [scale, symbol] = gf.scaleOf(Math.max(Math.abs(low), Math.abs(high)), unit);
  return `${gf.significant(low / scale)} to ${gf.significant(high / scale)}${symbol}`;
};

// A number as the export writes it: Python's repr of a float.
gf.exactly = function (value) {
  if (Number.isInteger(value) && Math.abs(value) < 1e16) return value + ".0";
  const magnitude = Math.abs(value);
  if (magnitude < 1e-4 || magnitude >= 1e16) return value.toExponential().replace(/e([+-])(\d)$/, "e$10$2");
  return String(value);
};

// What Plotly would take for markup: names come from files and boards.
gf.plain = function (text) {
  const cut = text.length > 200 ? text.slice(0, 200) + "…" : text;
  return cut.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
};

gf.element = function (name, text, attributes) {
  const made = document.createElement(name);
  if (text !== undefined && text !== null) made.textContent = text;
  Object.entries(attributes || {}).forEach(([key, value]) => {
    if (value !== null && value !== undefined) made.setAttribute(key, value);
  });
  return made;
};

gf.numberCell = function (value, low, high, unit, text) {
  const cell = gf.element("td", text === undefined ? gf.quantity(value, unit) : text, { class: "num" });
  const values = { value, low, high };
  Object.entries(values).forEach(([key, one]) => {
    if (one !== null && one !== undefined) cell.dataset[key] = gf.exactly(one);
  });
  return cell;
};

gf.head = function (table, names) {
  table.replaceChildren();
  const row = table.createTHead().insertRow();
  names.forEach(([name, number]) => {
    row.append(gf.element("th", name, { scope: "col", class: number ? "num" : null }));
  });
  return table.createTBody();
};
