// The bar of filters, the buttons of the figures, the keyboard; then everything is set going.
const KEYS = [["/", "find a workload"], ["j k", "next and previous figure"], ["c", "copy the figure's numbers as CSV"],
  ["l", "linear or logarithmic axis"], ["r", "absolute or over exact"], ["t", "light or dark"],
  ["Esc", "clear the filters"], ["?", "this help"]];
const THEMES = { "": "dark", dark: "light", light: "" };
const help = element("dialog", undefined, { id: "help", "aria-label": "Keyboard" });

function button(text, attributes, action) {
  const made = element("button", text, Object.assign({ type: "button" }, attributes));
  made.addEventListener("click", () => action(made));
  return made;
}

function choices() {
  const cases = data.cases.map((_, at) => caseAt(at));
  const methods = new Map(cases.map((one) => [one.methodLabel, one.colour]));
  const targets = new Map(Array.from(document.querySelectorAll("#summary article[data-of-target]"),
    (article) => [article.dataset.ofTarget, article.querySelector(".target").style.background]));
  const there = new Set(data.rows.map(([, , phase]) => data.words[phase]));
  const phases = PHASES.filter((phase) => there.has(phase));
  return { target: targets, method: methods, phase: new Map(phases.map((phase) => [phase, ""])) };
}

function chip(kind, value, colour) {
  const made = button(undefined, { class: "chip", "data-kind": kind, "data-value": value }, () => toggle(kind, value));
  if (colour) {
    const mark = element("span", undefined, { class: kind === "target" ? "target" : "dot" });
    mark.style.background = colour;
    made.append(mark);
  }
  made.append(kind === "phase" ? value.replace(/_/g, " ") : value);
  return made;
}

function filterBar() {
  const bar = element("div", undefined, { id: "filters", role: "group", "aria-label": "Filters" });
  Object.entries(choices()).forEach(([kind, values]) => {
    if (values.size < 2) return;
    const group = element("span", undefined, { class: "chips", role: "group", "aria-label": `${kind}s` });
    values.forEach((colour, value) => group.append(chip(kind, value, colour)));
    bar.append(group);
  });
  const search = element("input", undefined, { type: "search", id: "q", placeholder: "workload", "aria-label": "Only workloads whose name contains" });
  search.addEventListener("input", () => { state.q = search.value.trim(); changed(); });
  bar.append(search, button("clear", { id: "clear" }, clearFilters),
    button("", { id: "theme" }, nextTheme), button("?", { id: "keys", "aria-label": "Keyboard" }, () => help.showModal()));
  const nav = document.querySelector("nav");
  nav.append(bar);
  new ResizeObserver(() => {
    document.documentElement.style.scrollPaddingTop = `${nav.offsetHeight + 12}px`;
  }).observe(nav);
}

function clearFilters() {
  KINDS.forEach((kind) => state[kind].clear());
  state.q = "";
  changed();
}

function nextTheme() {
  state.theme = THEMES[state.theme] || "";
  changed();
}

function showFilters() {
  document.querySelectorAll(".chip").forEach((one) => {
    one.setAttribute("aria-pressed", state[one.dataset.kind].has(one.dataset.value));
  });
  const search = document.getElementById("q");
  if (document.activeElement !== search) search.value = state.q;
  document.getElementById("clear").hidden = !isFiltered();
  const theme = document.getElementById("theme");
  theme.textContent = { dark: "●", light: "○" }[state.theme] || "◐";
  theme.title = `theme: ${state.theme || "the system's"}`;
  theme.setAttribute("aria-label", theme.title);
  document.querySelectorAll("[data-of-target]").forEach((one) => { one.hidden = !allows("target", one.dataset.ofTarget); });
  document.querySelectorAll("[data-of-workload]").forEach((one) => { one.hidden = !matches(one.dataset.ofWorkload); });
  document.querySelectorAll("[data-of-method]").forEach((one) => { one.hidden = !allows("method", one.dataset.ofMethod); });
}

function showTheme() {
  if (["dark", "light"].includes(state.theme)) document.documentElement.dataset.theme = state.theme;
  else delete document.documentElement.dataset.theme;
}

function views(figure) {
  const plot = figure.querySelector(".plot");
  const meta = plot && figureOf(plot).layout.meta;
  return (meta && meta.views) || {};
}

function switchView(figure, [one, other]) {
  const plot = figure.querySelector(".plot");
  const now = plot ? viewOf(plot) : "";
  const next = now.includes(one) ? now.replace(one, other) : now.replace(other, one);
  if (!Object.hasOwn(views(figure), next)) return;
  state.views[figure.id] = next;
  changed();
}

const SCALES = ["log", "linear"];
const BASES = ["absolute", "ratio"];

function tools(figure) {
  const bar = element("div", undefined, { class: "tools", role: "group", "aria-label": `View and copy ${figure.querySelector("h3").textContent}` });
  const names = Object.keys(views(figure));
  const has = (words) => words.every((word) => names.some((name) => name.includes(word)));
  if (has(SCALES)) bar.append(button("", { "data-switch": "scale" }, () => switchView(figure, SCALES)));
  if (has(BASES)) bar.append(button("", { "data-switch": "base" }, () => switchView(figure, BASES)));
  if (data.tables[figure.id]) bar.append(button("CSV", { class: "csv", title: "copy the numbers as CSV" }, (made) => copyText(csvOf(figure.id), made)));
  if (figure.querySelector(".plot")) bar.append(button("PNG", { class: "png", title: "copy the figure as a picture" }, (made) => copyPng(figure, made)));
  figure.querySelector("figcaption").prepend(bar);
}

function showTools() {
  document.querySelectorAll("figure [data-switch]").forEach((made) => {
    const view = viewOf(made.closest("figure").querySelector(".plot"));
    made.textContent = made.dataset.switch === "scale"
      ? (view.includes("log") ? "linear axis" : "log axis") : (view.includes("ratio") ? "absolute" : "over exact");
  });
}

function goTo(id) {
  const place = id && document.getElementById(id);
  if (!place) return;
  place.scrollIntoView();
  if (place.tabIndex === -1) place.focus({ preventScroll: true });
}

function currentFigure() {
  const shown = Array.from(document.querySelectorAll("main figure"));
  return shown.find((figure) => figure.getBoundingClientRect().bottom > 160) || shown[0];
}

function step(by) {
  const shown = Array.from(document.querySelectorAll("main figure"));
  const next = shown[Math.max(0, Math.min(shown.length - 1, shown.indexOf(currentFigure()) + by))];
  if (next) goTo(next.id);
}

const ACTIONS = {
  "/": () => document.getElementById("q").focus(),
  "?": () => help.showModal(),
  t: nextTheme,
  j: () => step(1),
  k: () => step(-1),
  c: () => currentFigure().querySelector(".csv").click(),
  l: () => switchView(currentFigure(), SCALES),
  r: () => switchView(currentFigure(), BASES),
  Escape: () => { document.activeElement.blur(); clearFilters(); },
};

function pressed(event) {
  const typing = event.target.closest("input, textarea, dialog");
  if (event.ctrlKey || event.metaKey || event.altKey || (typing && event.key !== "Escape")) return;
  if (document.querySelector("dialog[open]") || (state.keys === "off" && event.key !== "Escape")) return;
  const action = Object.hasOwn(ACTIONS, event.key) && ACTIONS[event.key];
  if (!action) return;
  event.preventDefault();
  action();
}

function helpDialog() {
  const list = element("dl", undefined, { class: "run" });
  KEYS.forEach(([key, words]) => list.append(element("dt", key), element("dd", words)));
  const box = element("input", undefined, { type: "checkbox", id: "keys-on" });
  box.addEventListener("change", () => { state.keys = box.checked ? "on" : "off"; changed(); });
  listeners.push(() => { box.checked = state.keys !== "off"; });
  const label = element("label");
  label.append(box, " single keys work as shortcuts");
  help.append(button("close", { class: "close" }, () => help.close()), element("h3", "Keyboard"), list, label,
    element("p", "Your choices are kept in the page's address: a link to it shows the same view.", { class: "quiet" }));
  document.body.append(help);
}

function followLinks() {
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href^='#']");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    state.at = decoded(link.getAttribute("href").slice(1));
    history.replaceState(null, "", hashOf());
    goTo(state.at);
    if (link.className === "skip") document.getElementById(state.at).focus();
  });
  addEventListener("hashchange", () => { readHash(); listeners.forEach((listener) => listener()); goTo(state.at); });
}

function start() {
  readHash();
  showTheme();
  filterBar();
  helpDialog();
  document.body.append(element("div", undefined, { id: "said", class: "sr", "aria-live": "polite" }));
  document.querySelectorAll("main figure").forEach(tools);
  listeners.push(showTheme, showFilters, showTools);
  watchTables();
  watchWhy();
  showFilters();
  showTools();
  document.getElementById("keys-on").checked = state.keys !== "off";
  watchPlots();
  document.querySelectorAll("button[data-copy]").forEach((made) => {
    made.hidden = false;
    made.addEventListener("click", () => copyText(document.getElementById(made.dataset.copy).textContent, made));
  });
  document.addEventListener("keydown", pressed);
  followLinks();
  goTo(state.at);
  Object.assign(document.documentElement.dataset, { ready: "true", drawn: "true" });
}

start();
