// One run's figures from its summary: the rows of the export.
gf.run = function (data) {
  const words = data.words;
  const [targets, rows] = [document.getElementById("machines"), data.rows];
  const body = gf.head(targets, [["target"], ["platform"], ["model"], ["torch"], ["system"], ["fingerprint"]]);
  data.machines.forEach(([target, platform, fingerprint, facts]) => {
    const cells = [target, platform, facts.model, facts.torch, facts.os, fingerprint || "unknown"];
    body.insertRow().append(...cells.map((text, n) => gf.element(n ? "td" : "th", text || "", n ? {} : { scope: "row" })));
  });
  document.querySelector("[data-kernels]").textContent = "Kernels: " + data.kernels.map(([name, version, sha]) => `${name} ${version || "?"} (${sha.slice(0, 12) || "no hash"})`).join(", ");
  const table = document.getElementById("rows");
  gf.head(table, [["target"], ["workload"], ["method"], ["on"], ["metric"], ["phase"], ["value", true], ["95 % interval", true], ["n", true], ["status"], ["reason"]]);
  const list = table.tBodies[0];
  rows.case.forEach((at, n) => {
    const [target, workload, method, patch, kernel, device, dtype, batch] = data.cases[at];
    const [metric, phase, unit, status, reason] = ["metric", "phase", "unit", "status", "reason"].map((name) => words[rows[name][n]]);
    const label = `${method.replace(/_/g, " ")}${patch === null ? "" : ` r = ${patch}`}${kernel === "torch" ? "" : ` (${kernel})`}`;
    const row = list.insertRow();
    Object.assign(row.dataset, { target, workload, method: label, metric: WORDING.metrics[metric] || metric, name: metric, phase });
    const state = gf.element("td");
    state.append(gf.element("span", status, { class: "status status-" + status.replace(/[^a-z_]/g, "") }));
    const value = gf.numberCell(rows.value[n], rows.low[n], rows.high[n], unit);
    row.append(gf.element("td", target), gf.element("td", workload), gf.element("td", label), gf.element("td", `${device} ${dtype} b${batch}`),
      gf.element("td", row.dataset.metric), gf.element("td", phase.replace(/_/g, " ")), value,
      gf.element("td", gf.interval(rows.low[n], rows.high[n], unit), { class: "num" }), gf.element("td", rows.n[n], { class: "num" }), state, gf.element("td", reason, { class: "reason" }));
  });
};

// The theme: the system's, dark, or light; kept where the browser lets a page keep anything.
gf.theme = function (changed) {
  const NEXT = { "": "dark", dark: "light", light: "" };
  const GLYPH = { "": "◐", dark: "●", light: "○" };
  const button = gf.element("button", null, { type: "button", id: "theme" });
  let theme = "";
  try { theme = localStorage.getItem("gfbench-theme") || ""; } catch (error) { /* not kept here */ }
  function show() {
    if (!(theme in NEXT)) theme = "";
    if (theme) document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
    button.textContent = GLYPH[theme];
    button.title = `theme: ${theme || "the system's"}`;
    button.setAttribute("aria-label", button.title);
  }
  button.addEventListener("click", () => {
    theme = NEXT[theme];
    try { localStorage.setItem("gfbench-theme", theme); } catch (error) { /* for this page only */ }
    show();
    changed();
  });
  document.querySelector("nav > div").append(button);
  show();
};

(function () {
  const source = document.getElementById("page-data");
  const data = source ? JSON.parse(source.textContent) : null;
  if (data && data.rows) gf.run(data);
  const drawings = Array.from(document.querySelectorAll("figure[data-chart]")).map((figure) => (
    figure.dataset.chart === "forest" ? gf.forest(figure) : gf.history(figure, data)));
  gf.filters.build(data && data.lines ? gf.methodsOf(data) : null);
  const drawAll = () => drawings.forEach((draw) => draw());
  gf.theme(drawAll);
  drawAll();
  gf.state.listen(drawAll);
  gf.copyButtons();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  matchMedia("print").addEventListener("change", drawAll);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
    const toggle = { l: '[data-toggle="x"], [data-toggle="y"]', r: '[data-toggle="view"]' }[event.key];
    const button = toggle && document.querySelector(toggle);
    if (button) button.click();
    if (event.key === "Escape") gf.state.clear();
    const chip = event.key === "/" && document.querySelector("[data-chip], [data-of] select");
    if (chip) { event.preventDefault(); chip.focus(); }
  });
  document.documentElement.dataset.drawn = "true";
})();
