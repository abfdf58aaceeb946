// What the reader has chosen, kept in the page's address so that a link shows the same.
const PHASES = ["forward", "backward", "step", "train_step"];
const KINDS = ["target", "method", "phase"];
const state = { target: new Set(), method: new Set(), phase: new Set(), q: "", theme: "", keys: "on", at: "", views: {} };
const listeners = [];

function readHash() {
  KINDS.forEach((kind) => state[kind].clear());
  Object.assign(state, { q: "", theme: "", keys: "on", at: "", views: {} });
  const text = location.hash.slice(1);
  if (!text.includes("=")) {
    state.at = decoded(text);
    return;
  }
  new URLSearchParams(text).forEach((value, key) => {
    if (KINDS.includes(key)) state[key].add(value);
    else if (["q", "theme", "keys", "at"].includes(key)) state[key] = value;
    else if (Object.hasOwn(figures, key)) state.views[key] = value;
  });
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch (error) {
    return "";
  }
}

function hashOf() {
  const words = new URLSearchParams();
  KINDS.forEach((kind) => state[kind].forEach((value) => words.append(kind, value)));
  Object.entries(state.views).forEach(([chart, view]) => words.append(chart, view));
  if (state.q) words.append("q", state.q);
  if (state.theme) words.append("theme", state.theme);
  if (state.keys !== "on") words.append("keys", state.keys);
  if (!String(words)) return state.at ? `#${encodeURIComponent(state.at)}` : "#";
  if (state.at) words.append("at", state.at);
  return `#${words}`;
}

function changed() {
  history.replaceState(null, "", hashOf());
  listeners.forEach((listener) => listener());
}

function toggle(kind, value) {
  if (!state[kind].delete(value)) state[kind].add(value);
  changed();
}

// Nothing chosen is everything.
const allows = (kind, value) => !state[kind].size || !value || state[kind].has(value);

function matches(workload) {
  if (!workload) return true;
  const name = workload.toLowerCase();
  return state.q.toLowerCase().split(/\s+/).filter(Boolean).every((word) => name.includes(word));
}

const isFiltered = () => Boolean(state.q) || KINDS.some((kind) => state[kind].size);

function showsCase(one) {
  return allows("target", one.subject) && allows("method", one.methodLabel) && matches(one.workloadLabel);
}

function showsRow(place) {
  const [at, , phase] = data.rows[place];
  return showsCase(caseAt(at)) && (!PHASES.includes(data.words[phase]) || allows("phase", data.words[phase]));
}
