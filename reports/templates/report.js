"use strict";
(function () {
  const figures = JSON.parse(document.getElementById("figure-data").textContent);
  const plots = Array.from(document.querySelectorAll(".plot"));
  const config = {
    responsive: true,
    displaylogo: false,
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d"],
    toImageButtonOptions: { format: "png", scale: 2 },
  };

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

  drawAll();
  document.querySelectorAll("button[data-copy]").forEach((button) => {
    button.hidden = false;
    button.addEventListener("click", () => copied(button));
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  matchMedia("print").addEventListener("change", drawAll);
  document.documentElement.dataset.drawn = "true";
})();
