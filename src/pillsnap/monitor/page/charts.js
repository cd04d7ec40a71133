// Line charts on uPlot: own legend with the newest values, goals as lines, colours of the theme.

import { currentLanguage } from "./words.js";

const HEIGHT = 170;
const HEIGHT_SMALL = 120;
const charts = new Set();

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

/**
 * A chart in `parent`. draw({title, series: [{label, colour, format, dash, width, scale, quiet}], data, goal, x, y})
 * rebuilds it only when its series, title or goal change; otherwise it only sets the data.
 */
export function chart(parent, { small = false, time = false, format }) {
  const figure = document.createElement("figure");
  figure.hidden = true; // until there is something to draw
  const caption = document.createElement("figcaption");
  const canvas = document.createElement("div");
  canvas.setAttribute("role", "img");
  figure.append(caption, canvas);
  parent.append(figure);
  const own = { figure, caption, canvas, plot: null, shape: "", spec: null, format, time, height: small ? HEIGHT_SMALL : HEIGHT };
  new ResizeObserver(() => {
    if (own.plot && canvas.clientWidth) own.plot.setSize({ width: canvas.clientWidth, height: own.height });
    else if (own.spec) draw(own, own.spec);
  }).observe(canvas);
  charts.add(own);
  return { draw: (spec) => draw(own, spec), figure };
}

/** Rebuild all charts after a change of theme or language. */
export function redraw() {
  for (const own of charts) {
    own.shape = "";
    if (own.spec) draw(own, own.spec);
  }
}

function draw(own, spec) {
  own.spec = spec;
  own.figure.hidden = spec.data.slice(1).every((column) => newest(column) === undefined);
  if (own.figure.hidden) return;
  const shape = JSON.stringify([spec.title, spec.goal, spec.x, spec.y, spec.series.map((s) => [s.label, s.colour, s.dash, s.scale])]);
  if (shape === own.shape && own.plot) {
    own.plot.setData(spec.data);
  } else if (own.canvas.clientWidth) {
    own.shape = shape;
    own.plot?.destroy();
    own.plot = new uPlot(options(own, spec), spec.data, own.canvas);
  }
  legend(own, null);
}

function options(own, spec) {
  const [ink, line] = [colour("muted"), colour("line")];
  const font = "11px system-ui, sans-serif";
  const axis = { stroke: ink, font, grid: { stroke: line, width: 1 }, ticks: { show: false } };
  const values = (_, ticks) => ticks.map(own.format);
  const right = spec.series.some((s) => s.scale === "y2");
  const axes = [
    { ...axis, size: 26, gap: 4, ...(own.time ? {} : { incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500] }) },
    { ...axis, size: 46, gap: 4, values },
  ];
  if (right) axes.push({ ...axis, scale: "y2", side: 1, size: 40, grid: { show: false } });
  return {
    width: own.canvas.clientWidth,
    height: own.height,
    padding: [8, right ? 0 : 10, 0, 0],
    legend: { show: false },
    cursor: { drag: { x: false, y: false }, y: false, points: { size: 6 } },
    scales: { x: { time: own.time, ...(spec.x ? { range: spec.x } : {}) }, y: spec.y ? { range: spec.y } : {}, y2: {} },
    axes,
    series: [{}, ...spec.series.map(line_)],
    hooks: {
      draw: [(plot) => goalLine(plot, spec)],
      setCursor: [(plot) => legend(own, plot.cursor.idx ?? null)],
    },
    ...(own.time ? { fmtDate: localDate } : {}),
  };
}

function localDate(template) { // 24 hours everywhere instead of uPlot's am and pm
  return (date) => (template.includes("{ss}")
    ? date.toLocaleTimeString("en-GB")
    : date.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" }));
}

function line_(series) {
  return {
    stroke: colour(series.colour),
    width: series.width ?? 2,
    dash: series.dash,
    scale: series.scale ?? "y",
    spanGaps: true,
    points: { show: series.points ?? false, size: 5, fill: colour(series.colour) },
  };
}

function goalLine(plot, spec) {
  if (spec.goal === undefined || spec.goal === null) return;
  const { ctx } = plot;
  const y = plot.valToPos(spec.goal, "y", true);
  const { left, width } = plot.bbox;
  ctx.save();
  ctx.strokeStyle = ctx.fillStyle = colour("goal");
  ctx.lineWidth = devicePixelRatio;
  ctx.setLineDash([6 * devicePixelRatio, 4 * devicePixelRatio]);
  ctx.beginPath();
  ctx.moveTo(left, y);
  ctx.lineTo(left + width, y);
  ctx.stroke();
  ctx.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
  ctx.textAlign = "right";
  const below = y - plot.bbox.top < 16 * devicePixelRatio;
  const base = y + (below ? 13 : -5) * devicePixelRatio;
  ctx.lineWidth = 4 * devicePixelRatio;
  ctx.strokeStyle = colour("card"); // keeps the text legible over a curve
  ctx.setLineDash([]);
  ctx.strokeText(spec.goalText, left + width - 4, base);
  ctx.fillText(spec.goalText, left + width - 4, base);
  ctx.restore();
}

function legend(own, index) {
  const { spec } = own;
  const title = document.createElement("strong");
  title.textContent = spec.title;
  const parts = spec.series.filter((s) => !s.quiet).map((series) => {
    const column = spec.data[1 + spec.series.indexOf(series)];
    const value = index === null ? newest(column) : column[index];
    const key = document.createElement("span");
    key.className = `key ink-${series.colour}${series.dash ? " dashed" : ""}`;
    const text = document.createElement("span");
    text.textContent = `${series.label} ${value === null || value === undefined ? "–" : own.format(value)}`;
    key.append(document.createElement("i"), text);
    return key;
  });
  own.caption.replaceChildren(title, ...parts);
  const label = [spec.title, ...parts.map((part) => part.textContent), spec.goalText].filter(Boolean);
  if (index === null) own.canvas.setAttribute("aria-label", label.join(", "));
  own.canvas.lang = currentLanguage();
}

const newest = (column) => column.findLast((value) => value !== null && value !== undefined);
