// What a page shows is in its URL's hash: filters by name, and how a figure is drawn.
gf.state = (function () {
  const values = new Map();
  const listeners = [];

  function read() {
    values.clear();
    location.hash.slice(1).split("&").filter(Boolean).forEach((part) => {
      const [key, text] = part.split("=");
      try {
        values.set(decodeURIComponent(key), (text || "").split(",").filter(Boolean).map(decodeURIComponent));
      } catch (error) { /* a hash that somebody cut: leave that part out */ }
    });
  }

  function write() {
    const parts = [];
    values.forEach((list, key) => {
      if (list.length) parts.push(`${encodeURIComponent(key)}=${list.map(encodeURIComponent).join(",")}`);
    });
    history.replaceState(null, "", parts.length ? "#" + parts.join("&") : location.pathname + location.search);
    listeners.forEach((listener) => listener());
  }

  window.addEventListener("hashchange", () => {
    if (document.getElementById(location.hash.slice(1))) return; // a plain link within the page
    read();
    listeners.forEach((listener) => listener());
  });
  if (!document.getElementById(location.hash.slice(1))) read();
  return {
    get: (key) => values.get(key) || [],
    one: (key, fallback) => (values.get(key) || [fallback])[0],
    set: (key, list) => { values.set(key, list); write(); },
    clear: () => { values.clear(); write(); },
    listen: (listener) => listeners.push(listener),
  };
})();

// Filter chips: one group per attribute of the rows; no chip pressed shows all.
gf.filters = (function () {
  const TITLES = { setting: "on" };
  let dims = [];

  function valuesOf(dim) {
    const found = new Set();
    gf.filtered().forEach((row) => { if (row.dataset[dim]) found.add(row.dataset[dim]); });
    return dim === "method" ? Array.from(found) : Array.from(found).sort();
  }

  function passes(data) {
    return dims.every((dim) => {
      const wanted = gf.state.get(dim);
      return !wanted.length || !(dim in data) || wanted.includes(data[dim]);
    });
  }

  function chip(dim, value) {
    const button = gf.element("button", value, { type: "button", "data-dim": dim, "data-chip": value, title: value });
    button.addEventListener("click", () => {
      const now = gf.state.get(dim);
      gf.state.set(dim, now.includes(value) ? now.filter((one) => one !== value) : [...now, value]);
    });
    return button;
  }

  function build(more) {
    document.querySelectorAll("[data-filters]").forEach((box) => {
      dims = box.dataset.filters.split(" ");
      dims.forEach((dim) => {
        const values = (more && more(dim)) || valuesOf(dim);
        if (values.length < 2) return;
        const group = gf.element("div", null, { class: "group", role: "group", "aria-label": TITLES[dim] || dim });
        group.append(gf.element("span", TITLES[dim] || dim, { class: "name" }), ...values.map((value) => chip(dim, value)));
        box.append(group);
      });
    });
    gf.state.listen(apply);
    apply();
  }

  function apply() {
    document.querySelectorAll("[data-chip]").forEach((button) => {
      button.setAttribute("aria-pressed", gf.state.get(button.dataset.dim).includes(button.dataset.chip));
    });
    gf.filtered().forEach((row) => { row.hidden = !passes(row.dataset); });
  }

  return { build, passes, apply };
})();

gf.filtered = () => document.querySelectorAll("tbody [data-target], tbody [data-workload], article[data-target], li[data-target]");

// A choice as a list or as two-state button, kept in the hash.
gf.select = function (box, key, name, options, fallback) {
  const select = gf.element("select", null, { "aria-label": name });
  options.forEach(([value, title]) => select.append(gf.element("option", title, { value })));
  const label = gf.element("label", null, { class: "group" });
  label.append(gf.element("span", name, { class: "name" }), select);
  box.append(label);
  const show = () => { select.value = gf.state.one(key, fallback); };
  select.addEventListener("change", () => gf.state.set(key, [select.value]));
  gf.state.listen(show);
  show();
};

gf.toggle = function (box, key, [off, on]) {
  const button = gf.element("button", on, { type: "button", "data-toggle": key });
  const isOn = () => gf.state.one(key, off) === on;
  const show = () => button.setAttribute("aria-pressed", isOn());
  button.addEventListener("click", () => gf.state.set(key, isOn() ? [] : [on]));
  box.append(button);
  gf.state.listen(show);
  show();
};

// Tables as CSV: what is shown, numbers in full; text that a spreadsheet would run gets a quote.
gf.csv = function (table) {
  const quoted = (text) => (/[",\n\r]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text);
  const safe = (text) => quoted(/^[=+\-@\t]/.test(text) ? "'" + text : text);
  const cellText = (cell) => ("value" in cell.dataset ? cell.dataset.value : safe(cell.textContent.trim().replace(/\s+/g, " ")));
  const lines = [];
  Array.from(table.rows).filter((row) => !row.hidden && !row.parentNode.hidden && !row.dataset.caption).forEach((row) => {
    const cells = Array.from(row.cells);
    const lead = row.dataset.lead ? JSON.parse(row.dataset.lead).map(safe) : [];
    lines.push([...lead, ...cells.map(cellText)].join(","));
  });
  return lines.join("\n") + "\n";
};

gf.copyButtons = function () {
  document.querySelectorAll("button[data-csv]").forEach((button) => {
    button.addEventListener("click", () => {
      const text = gf.csv(document.getElementById(button.dataset.csv));
      const shown = () => {
        const box = button.parentNode.parentNode.querySelector("textarea.copy") || gf.element("textarea", null, { class: "copy", readonly: "", "aria-label": "CSV" });
        box.value = text;
        button.parentNode.after(box);
        box.select();
      };
      const done = () => { button.textContent = "copied"; };
      if (navigator.clipboard) navigator.clipboard.writeText(text).then(done, shown);
      else shown(); // a page from disk may have no clipboard: the text is there to be copied
    });
  });
};
