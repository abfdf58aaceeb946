// The tables behind the figures, written when they are first opened: most never are.
const ROW_HEAD = ["target", "workload", "method", "phase", "value", "95 % interval", "rounds", "status"];

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

function head(table, names) {
  const row = table.createTHead().insertRow();
  names.forEach((name) => row.append(element("th", name, { scope: "col" })));
}

function tableOfRows(table, places) {
  head(table, ROW_HEAD);
  const body = table.createTBody();
  places.forEach((place) => {
    const row = rowAt(place);
    const about = row.case.data;
    const texts = [about.target, `${about.workload} b${about.batch}`, row.case.methodLabel, row.phase.replace(/_/g, " ")];
    const line = body.insertRow();
    line.dataset.row = place;
    line.append(...texts.map((text) => element("td", text)));
    line.append(number(row.text, { value: row.value }), number(row.span, { low: row.low, high: row.high }));
    line.append(element("td", row.n), element("td", row.status === "ok" ? "ok" : `${row.status}: ${row.reason}`));
  });
}

const lengthOf = (columns) => (columns[0].words || columns[0].values).length;

function tableOfColumns(table, columns) {
  head(table, columns.map((column) => column.name));
  const body = table.createTBody();
  for (let place = 0; place < lengthOf(columns); place += 1) {
    const line = body.insertRow();
    line.dataset.line = place;
    line.append(...columns.map((column) => {
      const cell = cellOf(column, place);
      return "value" in cell ? number(cell.text, { value: cell.value }) : element("td", cell.text);
    }));
  }
}

// Whether the filters leave a line of a table of columns: by the columns that name what is filtered.
function showsLine(columns, place) {
  const word = (name) => {
    const column = columns.find((one) => one.name === name);
    return column && column.words ? data.words[column.words[place]] : "";
  };
  return allows("target", word("target")) && allows("method", word("method"))
    && allows("phase", word("phase")) && matches(word("workload"));
}

function caseHeading(body, one, at) {
  const name = element("th", undefined, { colspan: 7, scope: "rowgroup" });
  const opener = element("button", undefined, { type: "button", class: "why", "data-case": at });
  const dot = element("span", undefined, { class: "dot" });
  dot.style.background = one.colour;
  opener.append(dot, one.label);
  name.append(opener);
  body.insertRow().append(name);
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
      caseHeading(body, row.case, at);
    }
    body.append(lineOf(row, place));
  }
}

function lineOf(row, place) {
  const line = element("tr", undefined, { "data-metric": row.metric, "data-phase": row.phase, "data-row": place });
  const status = element("td");
  status.append(element("span", row.status, { class: "status status-" + row.status }));
  line.append(
    element("td", row.label), element("td", row.phase.replace(/_/g, " ")),
    number(row.text, { value: row.value }), number(row.span, { low: row.low, high: row.high }),
    element("td", row.n, { class: "num" }), status, element("td", row.reason, { class: "reason" }),
  );
  return line;
}

function writeTable(table) {
  if (table.dataset.written) return;
  table.dataset.written = "true";
  if (table.dataset.subject) tableOfSubject(table, data.subjects[Number(table.dataset.subject)]);
  else {
    const source = data.tables[table.dataset.table];
    if (Array.isArray(source)) tableOfRows(table, source);
    else tableOfColumns(table, source.columns);
  }
  filterTable(table);
}

function filterTable(table) {
  const columns = table.dataset.table && data.tables[table.dataset.table].columns;
  table.querySelectorAll("tr[data-row]").forEach((line) => { line.hidden = !showsRow(Number(line.dataset.row)); });
  table.querySelectorAll("tr[data-line]").forEach((line) => { line.hidden = !showsLine(columns, Number(line.dataset.line)); });
  table.querySelectorAll("tbody.case").forEach((body) => {
    body.hidden = !body.querySelector("tr[data-row]:not([hidden])");
  });
}

const TABLES = "table[data-table], table[data-subject]";

function watchTables() {
  document.querySelectorAll(TABLES).forEach((table) => {
    const details = table.closest("details");
    details.addEventListener("toggle", () => { if (details.open) writeTable(table); });
    if (details.open) writeTable(table);
  });
  listeners.push(() => document.querySelectorAll("table[data-written]").forEach(filterTable));
}
