// What is behind a point: its case's figures, its blocks, and the command that measures it again.
const why = element("dialog", undefined, { id: "why", "aria-labelledby": "why-title" });

function openCase(at) {
  const one = caseAt(at);
  const close = element("button", "close", { type: "button", class: "close" });
  close.addEventListener("click", () => why.close());
  why.replaceChildren(close, element("h3", one.label, { id: "why-title" }), element("p", one.subject, { class: "quiet" }),
    element("h4", "Measure it again"), ...commandOf(one), element("h4", "Its figures"), figuresOf(at), ...blocksOf(one));
  why.showModal();
  why.scrollTop = 0;
}

function commandOf(one) {
  const start = data.starts[one.subject];
  if (!start) return [element("p", "The command of this run was not recorded, or it did not run a suite.", { class: "quiet" })];
  const command = `${start} ${one.repeat}`;
  const line = element("div", undefined, { class: "command" });
  const button = element("button", "copy", { type: "button" });
  button.addEventListener("click", () => copyText(command, button));
  line.append(element("pre", command), button);
  return [line];
}

function figuresOf(at) {
  const table = element("table");
  head(table, ["metric", "phase", "value", "95 % interval", "n", "status", "reason"]);
  const body = table.createTBody();
  data.rows.forEach((row, place) => { if (row[0] === at) body.append(lineOf(rowAt(place), place)); });
  return scrolling(table, "Figures of the case");
}

function blocksOf(one) {
  const drift = data.tables.drift;
  if (!drift || !drift.columns) return [];
  const word = (name, place) => {
    const column = drift.columns.find((other) => other.name === name);
    return data.words[column.words[place]];
  };
  const places = Array.from({ length: lengthOf(drift.columns) }, (_, place) => place).filter((place) => (
    word("target", place) === one.subject && word("workload", place) === one.workloadLabel
    && word("method", place) === one.methodLabel));
  if (!places.length) return [];
  const table = element("table");
  const columns = drift.columns.filter((column) => ["block", "round", "step", "over median"].includes(column.name));
  head(table, columns.map((column) => column.name));
  const body = table.createTBody();
  places.forEach((place) => body.insertRow().append(...columns.map((column) => element("td", cellOf(column, place).text))));
  return [element("h4", "Its blocks, in the order they ran"), scrolling(table, "Blocks of the case")];
}

function scrolling(table, label) {
  const box = element("div", undefined, { class: "scroll", tabindex: 0, role: "region", "aria-label": label });
  box.append(table);
  return box;
}

function clicked(event) {
  const point = event.points[0];
  const meta = point.data.meta || {};
  if (meta.rows) openCase(data.rows[[].concat(meta.rows[point.pointNumber]).at(-1)][0]);
}

function watchWhy() {
  document.body.append(why);
  document.querySelectorAll("td[data-row]").forEach((cell) => {
    const opener = element("button", undefined, {
      type: "button", class: "why", "aria-label": cell.title, "data-case": data.rows[Number(cell.dataset.row)][0],
    });
    opener.append(...cell.childNodes);
    cell.append(opener);
  });
  document.addEventListener("click", (event) => {
    const cell = event.target.closest("td[data-row]");
    const opener = cell ? cell.querySelector("button[data-case]") : event.target.closest("button[data-case]");
    if (opener) openCase(Number(opener.dataset.case));
    else if (event.target === why) why.close();
  });
}
