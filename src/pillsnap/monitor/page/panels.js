// The rest of the page: pipeline, failures, hardware, data checks, results and the log.

import { chart } from "./charts.js";
import { clock, clockWithSeconds, duration, failureText, number, shortNumber, word } from "./words.js";

const STAGES = ["build_manifest", "validate", "train_detection", "train_classification", "evaluate"];
const LEVELS = ["DEBUG", "INFO", "WARNING", "ERROR"];
const MARKS = { idle: "○", running: "▶", done: "✓", failed: "✕", stalled: "‖" };
const GB = 1024;

/** An element with attributes and children; text is always text, never markup. */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children.filter((child) => child !== null && child !== undefined).map((child) => (child instanceof Node ? child : String(child))));
  return node;
}

/** A bar that is `share` full, 0 to 1; null draws it empty. */
export function meter(share, label, kind = "") {
  const bar = el("div", { class: `meter ${kind}`, role: "progressbar", "aria-label": label, "aria-valuemin": 0, "aria-valuemax": 100 }, el("i"));
  if (share !== null && share !== undefined) {
    bar.setAttribute("aria-valuenow", Math.round(share * 100));
    bar.firstChild.style.width = `${Math.min(100, share * 100).toFixed(1)}%`;
  }
  return bar;
}

/** A table of ready rows; a heading that starts with ">" is right-aligned. */
export function table(heads, rows) {
  const head = (text) => el("th", { scope: "col", class: text.startsWith(">") ? "right" : "" }, text.replace(/^>/, ""));
  return el("table", {}, el("thead", {}, el("tr", {}, ...heads.map(head))), el("tbody", {}, ...rows));
}

export function drawPipeline(state) {
  document.getElementById("scale").textContent = state.source.scale;
  document.getElementById("stages").replaceChildren(...STAGES.map((name) => {
    const stage = state.stages[name];
    const share = stage.status === "done" ? 1 : stage.share_done;
    const took = stage.ended && stage.started ? duration(stage.ended - stage.started) : "";
    const percent = stage.share_done !== null ? `${Math.floor(stage.share_done * 100)}%` : "";
    const note = stage.status === "done" ? took : stage.status === "idle" ? "" : percent;
    return el("li", { class: stage.status, ...(stage.status === "running" ? { "aria-current": "step" } : {}) },
      el("span", { class: "mark", "aria-hidden": "true" }, MARKS[stage.status]),
      el("span", { class: "name" }, word(name)),
      el("span", { class: "note" }, [word(stage.status), note].filter(Boolean).join(" · ")),
      meter(share, word(name), stage.status));
  }));
  drawWhole(state);
  const { source } = state;
  const shown = source.events ? word("source", { events: number(source.events), path: source.path }) : word("nothing_yet");
  const extra = [source.skipped ? word("skipped", { n: source.skipped }) : "", source.problem ? word("problem", { text: source.problem }) : ""];
  document.getElementById("source").textContent = [shown, ...extra].filter(Boolean).join(" · ");
}

/** The time left of all stages: each later one takes as long as in its last run. */
function drawWhole(state) {
  const at = STAGES.findLastIndex((name) => state.stages[name].status === "running");
  const now = state.stages[STAGES[at]];
  const node = document.getElementById("whole");
  node.textContent = "";
  if (!now || now.eta_s === null) return;
  const later = STAGES.slice(at + 1);
  const unknown = later.filter((name) => state.stages[name].ended === null);
  const known = later.filter((name) => !unknown.includes(name)).map((name) => state.stages[name]);
  const seconds = known.reduce((sum, stage) => sum + stage.ended - stage.started, now.eta_s);
  const places = { stage: word(STAGES[at]), t: seconds < 3600 ? word("minutes", { n: Math.ceil(seconds / 60) }) : duration(seconds), at: clock(now.updated + seconds), stages: unknown.map((name) => word(name)).join(", ") };
  node.textContent = word(unknown.length ? "pipeline_least" : "pipeline_left", places);
}

let shownFailures = "";

export function drawFailures(state) {
  const failed = STAGES.filter((name) => state.stages[name].failure);
  const mark = JSON.stringify([document.documentElement.lang, failed.map((name) => state.stages[name].failure), failureText("Interrupted.")]);
  if (mark === shownFailures) return; // an alert that is set again is read out again
  shownFailures = mark;
  document.getElementById("failures").replaceChildren(...failed.map((name) => {
    const { message, cause, cures, time } = state.stages[name].failure;
    return el("section", { class: "failure", role: "alert" },
      el("h2", {}, `${word(name)}: ${word("failed")} · ${clock(time, true)}`),
      el("dl", {},
        el("dt", {}, word("what")), el("dd", {}, failureText(message)),
        ...(cause ? [el("dt", {}, word("cause")), el("dd", {}, failureText(cause))] : []),
        ...(cures.length ? [el("dt", {}, word("cures")), el("dd", {}, el("ol", {}, ...cures.map((cure) => el("li", {}, failureText(cure)))))] : [])));
  }));
}

let machine = null;

export function drawMachine(state) {
  const { newest, time, columns } = state.hardware;
  const root = document.getElementById("machine");
  machine ??= newMachine(root);
  if (!newest) {
    machine.list.replaceChildren(el("p", { class: "muted" }, word("no_hardware")));
    return;
  }
  const gpu = "gpu_name" in newest;
  machine.list.replaceChildren(
    el("p", { class: "gpu" }, el("strong", {}, `${word("gpu")}: `), gpu ? newest.gpu_name : word("gpu_none"),
      el("small", { class: "muted" }, ` · ${word("sampled", { t: clockWithSeconds(time) })}`)),
    el("div", { class: "gauges" }, ...(gpu ? gpuGauges(newest) : []), ...hostGauges(newest)));
  drawMachineCharts(state.history, columns, gpu);
}

function newMachine(root) {
  const list = el("div");
  const charts = el("div", { class: "charts three" });
  root.append(list, charts);
  const kind = { time: true, small: true };
  return { list, load: chart(charts, { ...kind, format: (v) => number(v) }), memory: chart(charts, { ...kind, format: (v) => number(v, 1) }), heat: chart(charts, { ...kind, format: (v) => number(v) }) };
}

function gauge(label, text, share, warnAbove = 2) {
  return el("div", { class: "gauge" }, el("span", { class: "label" }, label), el("span", { class: "value" }, text),
    share === null ? null : meter(share, `${label}: ${text}`, share > warnAbove ? "warn" : ""));
}

const ratio = (used, total) => (used === undefined || !total ? null : used / total);

function gpuGauges(now) {
  return [
    gauge(word("gpu_util"), `${number(now.gpu_util_pct)}%`, ratio(now.gpu_util_pct, 100)),
    gauge(word("gpu_memory"), `${number(now.gpu_memory_used_mb / GB, 1)} / ${number(now.gpu_memory_total_mb / GB, 1)} GB`, ratio(now.gpu_memory_used_mb, now.gpu_memory_total_mb), 0.95),
    gauge(word("temperature"), `${number(now.gpu_temperature_c)} °C`, null),
    gauge(word("power"), `${number(now.gpu_power_w)} W`, null),
  ];
}

function hostGauges(now) {
  return [
    gauge(word("cpu"), `${number(now.cpu_pct)}%`, ratio(now.cpu_pct, 100)),
    gauge(word("ram"), `${number(now.ram_used_mb / GB, 1)} / ${number(now.ram_total_mb / GB, 1)} GB`, ratio(now.ram_used_mb, now.ram_total_mb), 0.9),
    gauge(word("disk"), `${number(now.disk_free_gb)} GB`, null),
  ];
}

function drawMachineCharts(history, columns, gpu) {
  const column = (name, scale = 1) => history.map((row) => { const v = row[columns.indexOf(name)]; return v === null ? null : v / scale; });
  const times = column("time");
  const host = (label, ink, name, scale) => ({ label, colour: ink, data: column(name, scale) });
  const load = [host(word("cpu"), "three", "cpu_pct")];
  const memory = [host(word("ram"), "three", "ram_used_mb", GB)];
  if (gpu) {
    load.unshift(host(word("gpu"), "one", "gpu_util_pct"));
    memory.unshift(host(word("gpu"), "one", "gpu_memory_used_mb", GB));
  }
  const put = (plot, title, series, rest = {}) => plot.draw({ title, series, data: [times, ...series.map((s) => s.data)], ...rest });
  const hour = ` · ${word("last_hour")}`;
  put(machine.load, word("load_chart") + hour, load, { y: [0, 100] });
  put(machine.memory, word("memory_chart") + hour, memory);
  machine.heat.figure.hidden = !gpu;
  if (gpu) put(machine.heat, word("heat_chart"), [host("°C", "three", "gpu_temperature_c"), { ...host("W", "one", "gpu_power_w"), scale: "y2" }]);
}

let shownFiles = "";

export function drawFiles(state) {
  const { validation, sampling, metrics } = state.files;
  const mark = JSON.stringify([document.documentElement.lang, state.files, state.origins, state.pages]);
  if (mark === shownFiles) return; // pictures are not loaded again, and open lists stay open
  shownFiles = mark;
  document.getElementById("data").replaceChildren(...validationParts(validation, sampling, state.origins.validation), pageLink(state, "validation.html", "validation_report"));
  document.getElementById("results").replaceChildren(...resultParts(metrics, state.origins.metrics), pageLink(state, "report.html", "report"));
  drawPredictions(state);
}

/** A page's address changes with its content. */
const address = (state, name) => `artifacts/${name}?${state.pages[name]}`;

function pageLink(state, name, title) {
  if (!state.pages[name]) return "";
  return el("p", { class: "pages" }, el("a", { href: address(state, name), target: "_blank", rel: "noopener" }, word(title)));
}

function drawPredictions(state) {
  const section = document.getElementById("predictions");
  const href = address(state, "figures/detections.png");
  section.hidden = href.endsWith("null");
  if (section.hidden) return;
  const picture = el("img", { src: href, alt: word("predictions"), loading: "lazy" });
  const { metrics } = state.origins;
  section.querySelector("div").replaceChildren(el("p", { class: "muted origin" }, word(metrics.current ? "predictions_note" : "earlier_predictions")),
    el("a", { href, target: "_blank", rel: "noopener", class: metrics.current ? "" : "earlier" }, picture));
}

/** When, by which run and from which revision a file was made; whether it is of the current run. */
function originParts(origin, made, earlier) {
  const known = (key, id) => word(key, { id: id ?? word("unknown") });
  const parts = [word(made, { t: clock(origin.time, true) }), ...(made === "measured" ? [known("revision", origin.revision)] : []), known("run", origin.run)];
  return [origin.current ? null : el("p", { class: "notice" }, word(earlier)), el("p", { class: "muted origin" }, parts.join(" · "))].filter(Boolean);
}

function validationParts(validation, sampling, origin) {
  if (!validation || validation.problem) return [el("p", { class: "muted" }, validation?.problem ?? word("no_validation"))];
  const checks = Array.isArray(validation.checks) ? validation.checks : [];
  const ko = document.documentElement.lang === "ko";
  const texts = (check) => (ko && check.ko ? check.ko : [check.meaning, check.cure]).filter(Boolean);
  const row = (check) => el("tr", {},
    el("td", {}, el("span", { class: `badge ${check.status}` }, word(check.status))),
    el("td", {}, el("code", {}, check.name), ...(check.status === "pass" ? [] : texts(check)).map((text) => el("div", {}, text)), exampleList(check)),
    el("td", { class: "right" }, number(check.count)));
  const rowsOf = (...kinds) => kinds.flatMap((kind) => checks.filter((check) => check.status === kind)).map(row);
  const [found, passed] = [rowsOf("fail", "warn"), rowsOf("pass")];
  const listed = (rows) => el("div", { class: "scroll", tabindex: 0 }, table([word("status"), word("check"), `>${word("count")}`], rows));
  const counts = [["pills", sampling], ["frames", sampling], ["classes", sampling]].filter(([name, from]) => Number.isFinite(from?.[name]));
  const chips = [...counts.map(([name, from]) => [word(name), number(from[name])]), ...totals("admitted", validation), ...totals("rejected", validation)];
  return [...originParts(origin, "checked", "earlier_validation"),
    el("div", { class: origin.current ? "" : "earlier" },
      el("dl", { class: "facts" }, ...chips.map(([term, value]) => el("div", {}, el("dt", {}, term), el("dd", {}, value)))),
      ...(found.length ? [listed(found)] : []),
      el("details", {}, el("summary", {}, word("passed", { n: passed.length })), listed(passed)))];
}

function totals(key, validation) {
  const group = validation[key];
  if (Number.isFinite(group)) return [[word(key), number(group)]];
  const inner = Object.entries(group ?? {}).filter(([, value]) => Number.isFinite(value)).slice(0, 6);
  return inner.map(([name, value]) => [`${word(key)}: ${word(name)}`, number(value)]);
}

function exampleList(check) {
  if (check.status === "pass" || !check.examples?.length) return null;
  return el("ul", { class: "examples" }, ...check.examples.map((text) => el("li", {}, typeof text === "string" ? text : JSON.stringify(text))));
}

function resultParts(metrics, origin) {
  if (!metrics || metrics.problem) return [el("p", { class: "muted" }, metrics?.problem ?? word("no_metrics"))];
  const goals = Object.entries(metrics.targets ?? {}).map(([name, target]) => el("tr", {}, el("td", {}, word(name)),
    el("td", { class: "right" }, shortNumber(target.value)), el("td", { class: "right" }, shortNumber(target.goal)),
    el("td", {}, origin.current ? verdict(name, target.met) : "–")));
  const groups = ["detection", "classification", "pipeline", "unknown"].map((group) => {
    const numbers = Object.entries(metrics[group] ?? {}).filter(([, value]) => typeof value === "number");
    return numbers.length ? el("tr", {}, el("th", { scope: "row" }, word(`group_${group}`)), el("td", {}, numbers.map(([name, value]) => `${name} ${shortNumber(value)}`).join(" · "))) : null;
  });
  return [...originParts(origin, "measured", "earlier_metrics"),
    el("div", { class: origin.current ? "" : "earlier" },
      el("div", { class: "scroll", tabindex: 0 }, table([word("metric"), `>${word("value")}`, `>${word("target")}`, ""], goals)),
      el("table", { class: "plain" }, el("tbody", {}, ...groups)))];
}

function verdict(name, met) {
  if (met !== true && met !== false) return "–";
  return el("span", { class: `badge ${met ? "pass" : "fail"}` }, word(met ? "met" : name.endsWith("minutes") ? "over" : "missed"));
}

export function drawLog(state) {
  const box = document.getElementById("log");
  const least = LEVELS.indexOf(document.getElementById("level").value);
  const stage = document.getElementById("log-stage").value;
  const lines = state.logs.filter((line) => LEVELS.indexOf(line.level) >= least && (!stage || line.stage === stage));
  const mark = JSON.stringify([document.documentElement.lang, least, stage, lines.length, lines.at(-1)?.number]);
  if (mark === box.dataset.mark) return;
  const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
  box.dataset.mark = mark;
  box.replaceChildren(...(lines.length ? lines.map(logLine) : [el("p", { class: "muted" }, word("no_log"))]));
  if (atEnd) box.scrollTop = box.scrollHeight;
}

function logLine(line) {
  return el("div", { class: `line ${line.level}` }, el("time", {}, clockWithSeconds(line.time)), " ", el("b", {}, line.level), " ",
    el("em", {}, word(line.stage)), " ", el("span", {}, line.message));
}
