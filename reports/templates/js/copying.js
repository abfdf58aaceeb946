// Copying a figure as CSV or PNG, and what else a button copies.
const CASE_COLUMNS = ["run", "target", "workload", "method", "patchSize", "kernel", "device", "dtype", "batch"];
const CSV_HEAD = ["run_id", "target", "workload", "method", "patch_size", "kernel", "device", "dtype", "batch",
  "phase", "metric", "unit", "value", "ci_low", "ci_high", "n", "status", "reason"];

// Text that a spreadsheet would take for a formula gets a quote, as in the export.
function csvCell(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "number") return pythonic(value);
  const text = /^[=+\-@\t\n]/.test(value) ? `'${value}` : String(value);
  return /[",\n\r]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
}

function csvLine(values) {
  return values.map(csvCell).join(",");
}

function csvOfRow(place) {
  const [, metric, phase, value, low, high, n, status, reason] = data.rows[place];
  const row = rowAt(place);
  return csvLine([
    ...CASE_COLUMNS.map((name) => row.case.data[name]),
    data.words[phase], data.words[metric], data.metrics[row.metric][1], value, low, high, String(n),
    data.words[status], data.words[reason],
  ]);
}

function csvOf(chart) {
  const source = data.tables[chart];
  if (Array.isArray(source)) {
    return [CSV_HEAD.join(","), ...source.filter(showsRow).map(csvOfRow)].join("\n") + "\n";
  }
  const places = Array.from({ length: lengthOf(source.columns) }, (_, place) => place);
  const lines = places.filter((place) => showsLine(source.columns, place)).map((place) => csvLine(
    source.columns.map((column) => (column.words ? data.words[column.words[place]] : column.values[place]))));
  const names = source.columns.map((column) => (column.unit && column.unit !== "1" ? `${column.name} (${column.unit})` : column.name));
  return [csvLine(names), ...lines].join("\n") + "\n";
}

function said(button, words) {
  const before = button.dataset.words || button.textContent;
  button.dataset.words = before;
  button.textContent = words;
  document.getElementById("said").textContent = words;
  setTimeout(() => { button.textContent = before; }, 1600);
}

function copyText(text, button) {
  const done = () => said(button, "copied");
  if (navigator.clipboard) navigator.clipboard.writeText(text).then(done, () => copyByHand(text, button));
  else copyByHand(text, button);
}

// Browsers without a clipboard for pages from disk copy what is selected.
function copyByHand(text, button) {
  const area = element("textarea");
  area.value = text;
  (button.closest("dialog") || document.body).append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  said(button, copied ? "copied" : "cannot copy here");
}

async function pngOf(figure) {
  const panels = Array.from(figure.querySelectorAll(".panel:not([hidden])"));
  panels.forEach((panel) => panel.querySelectorAll(".plot").forEach((plot) => { if (dirty.has(plot)) draw(plot); }));
  const images = [];
  for (const panel of panels) {
    const plot = panel.querySelector(".plot[data-drawn]");
    if (plot) images.push(await imageOf(plot, (panel.querySelector("h4") || {}).textContent || ""));
  }
  const width = Math.max(480, ...images.map((one) => one.width));
  const legend = Array.from(figure.querySelectorAll(".legend li:not([hidden])"));
  const canvas = element("canvas");
  canvas.width = (width + 32) * 2;
  canvas.height = (84 + images.reduce((sum, one) => sum + one.height + 26, 0)) * 2;
  const pen = canvas.getContext("2d");
  paint(pen, canvas, figure.querySelector("h3").textContent, legend, images);
  return new Promise((resolve) => { canvas.toBlob(resolve, "image/png"); });
}

async function imageOf(plot, title) {
  const { width, height } = plot.getBoundingClientRect();
  const image = new Image();
  image.src = await Plotly.toImage(plot, { format: "png", scale: 2, width, height });
  await image.decode();
  return { image, title, width, height };
}

function paint(pen, canvas, title, legend, images) {
  const t = tokens();
  pen.scale(2, 2);
  pen.fillStyle = t.card;
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.fillStyle = t.ink;
  pen.font = `600 16px ${t.font}`;
  pen.fillText(title, 16, 30);
  pen.font = `12px ${t.font}`;
  let x = 16;
  legend.forEach((key) => {
    const glyph = key.querySelector("span");
    pen.fillStyle = getComputedStyle(glyph).color;
    pen.fillText(glyph.textContent, x, 54);
    pen.fillStyle = t.ink;
    const words = key.textContent.replace(glyph.textContent, "").trim();
    pen.fillText(words, x + 16, 54);
    x += 34 + pen.measureText(words).width;
  });
  let y = 72;
  images.forEach((one) => {
    pen.fillStyle = t.muted;
    pen.fillText(one.title, 16, y + 14);
    pen.drawImage(one.image, 16, y + 20, one.width, one.height);
    y += one.height + 26;
  });
}

async function copyPng(figure, button) {
  const blob = await pngOf(figure);
  try {
    await navigator.clipboard.write([new ClipboardItem({ "image/png": blob })]);
    said(button, "copied");
  } catch (error) {
    const link = element("a", undefined, { download: `gfbench-${figure.id}.png` });
    link.href = URL.createObjectURL(blob);
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    said(button, "saved");
  }
}
