// The two training cards: progress, curves, and earlier runs for comparison.

import { chart } from "./charts.js";
import { el, meter, table } from "./panels.js";
import { clock, duration, number, shortNumber, word } from "./words.js";

const MERITS = { train_detection: ["map50", "map50_95"], train_classification: ["top1", "top5"] };
const TABLE = {
  train_detection: ["map50", "map50_95", "precision", "recall", "loss/train", "loss/val", "lr", "seconds"],
  train_classification: ["top1", "top5", "loss/train", "loss/val", "lr", "seconds"],
};
const MOST_ROWS = 100;
const cards = {};

export function drawTraining(name, state, now) {
  const card = (cards[name] ??= newCard(name, state, now));
  const stage = state.stages[name];
  const runs = state.runs[name];
  const current = runs.find((run) => run.run === stage.run) ?? runs.at(-1);
  card.current = current;
  drawHead(card, name, stage, current, now);
  drawCurves(card, name, stage, current, runs);
  drawConfig(card, stage, state.files.sampling);
  drawRuns(card, name, runs, current);
  drawTable(card, name, current);
}

/** Only what changes with the clock: time left, time without events. */
export function tickTraining(name, state, now) {
  if (cards[name]) drawHead(cards[name], name, state.stages[name], cards[name].current, now);
}

function newCard(name) {
  const root = document.getElementById(name);
  const head = el("div");
  const wait = el("p", { class: "muted" });
  const curves = el("div", { class: "charts" }, wait);
  const runs = el("details", {}, el("summary"), el("div", { class: "scroll", tabindex: 0 }));
  const table = el("details", {}, el("summary"), el("div", { class: "scroll", tabindex: 0 }));
  const config = el("details", {}, el("summary"), el("p", { class: "config" }));
  root.append(head, curves, config, runs, table);
  return {
    head, wait, config, runs, table, compared: new Set(), seen: {},
    merit: chart(curves, { format: (v) => number(v, 2) }),
    loss: chart(curves, { format: shortNumber }),
    lr: chart(curves, { format: (v) => (v ? v.toExponential(1) : "0"), small: true }),
  };
}

function unchanged(card, part, ...what) {
  const mark = JSON.stringify([document.documentElement.lang, ...what]);
  const same = card.seen[part] === mark;
  card.seen[part] = mark;
  return same;
}

function drawHead(card, name, stage, run, now) {
  const facts = factsOf(name, stage, run, now);
  const spent = spentOf(stage, now);
  if (unchanged(card, "head", stage.status, stage.share_done, stage.step, facts, spent)) return;
  document.getElementById(name).dataset.status = stage.status;
  const share = stage.status === "done" ? 1 : stage.share_done;
  card.head.replaceChildren(
    el("p", { class: "where" },
      el("span", { class: `badge ${stage.status}` }, word(stage.status)),
      el("span", {}, position(stage)),
      spent ? el("span", { class: `spent ${spent.mood}` }, spent.text) : null,
    ),
    meter(share, `${word(name)}: ${position(stage) || word(stage.status)}`, stage.status),
    el("dl", { class: "facts" }, ...facts.map(([term, value, note, mood]) => el("div", {},
      el("dt", {}, term), el("dd", {}, value, note ? el("small", { class: mood ?? "" }, note) : null)))),
  );
}

function position(stage) {
  if (stage.epoch === null) return "";
  const at = word("epoch_of", { n: number(stage.epoch), of: number(stage.epochs) });
  const inside = stage.epoch > stage.epochs_done && stage.step !== null;
  if (stage.status === "running" && stage.epoch && stage.epoch === stage.epochs_done && stage.step === null) {
    return word("resumed", { n: stage.epoch });
  }
  return inside ? `${at}, ${word("step_of", { n: number(stage.step), of: number(stage.total) })}` : at;
}

function factsOf(name, stage, run, now) {
  if (stage.status === "idle") return [];
  const facts = [];
  if (stage.status === "running" && stage.eta_s !== null) {
    const left = stage.eta_s - (now - stage.updated);
    facts.push([word("left"), duration(left), `${word("ends")} ${clock(stage.updated + stage.eta_s)}`]);
  } else if (stage.status === "stalled") {
    facts.push([word("stalled"), word("silent_for", { t: duration(now - stage.updated) }), null]);
  } else if (stage.started !== null && stage.status !== "running") {
    facts.push([word("took"), duration((stage.ended ?? now) - stage.started), `${word("since")} ${clock(stage.started, true)}`]);
  }
  facts.push(rate(stage.images_per_s));
  const merit = MERITS[name][0];
  const best = bestOf(run, merit);
  facts.push([word("best", { name: word(merit) }), best === null ? "–" : number(best, 3), ...goalNote(stage.goals[merit], best)]);
  const loss = stage.metrics.loss ?? stage.metrics["loss/train"];
  facts.push([word("loss"), shortNumber(loss), stage.metrics.lr ? `${word("lr")} ${stage.metrics.lr.toExponential(1)}` : null]);
  return facts;
}

/** Images a second; below 1 the time of an image, which says more than "0". */
function rate(perSecond) {
  if (!perSecond || perSecond >= 1) return [word("images_per_s"), number(perSecond), null];
  return [word("per_image"), `${number(1 / perSecond, 1)}${word("s")}`, null];
}

function spentOf(stage, now) {
  const minutes = stage.goals.minutes;
  if (!minutes || stage.started === null) return null;
  const spent = ((stage.ended ?? (stage.status === "stalled" ? stage.updated : now)) - stage.started) / 60;
  const goal = word("goal", { v: word("minutes", { n: number(minutes) }) });
  return { text: `${word("minutes", { n: number(spent, 1) })} · ${goal}`, mood: spent > minutes ? "bad" : "muted" };
}

function goalNote(goal, value) {
  if (goal === undefined) return [null];
  const met = value !== null && value >= goal;
  return [`${word("goal", { v: shortNumber(goal) })}${met ? " ✓" : ""}`, met ? "good" : ""];
}

function bestOf(run, merit) {
  const values = (run?.metrics[merit] ?? []).filter((value) => value !== null);
  return values.length ? Math.max(...values) : null;
}

function drawCurves(card, name, stage, run, runs) {
  const others = runs.filter((other) => other !== run && card.compared.has(other.run));
  const planned = Math.max(stage.epochs ?? 1, ...[run, ...others].map((r) => r?.epoch.at(-1) ?? 1));
  const [main, second] = MERITS[name];
  card.wait.textContent = run?.epoch.length ? "" : word(stage.status === "idle" ? `later_${name}` : "no_curve");
  const x = [planned === 1 ? 0 : 1, planned];
  const earlier = (metric) => others.map((other) => [other, metric, { label: `${word("compared")} ${clock(other.started, true)}`, colour: "other", dash: [5, 4], width: 1.5 }]);
  const points = (run?.epoch.length ?? 0) <= 30;
  const own = (metric, colour) => [run, metric, { label: word(metric), colour, points }];
  const goal = stage.goals[main];
  const goalText = goal === undefined ? undefined : word("goal", { v: shortNumber(goal) });
  draw(card.merit, word(name === "train_detection" ? "detection_merit" : "merit"), [own(main, "one"), own(second, "two"), ...earlier(main)], { x, y: [0, 1], goal, goalText });
  draw(card.loss, word("loss"), [own("loss/train", "one"), own("loss/val", "three"), ...earlier("loss/val")], { x });
  draw(card.lr, word("lr"), [own("lr", "one"), ...earlier("lr")], { x });
}

function draw(plot, title, lines, rest) {
  const tables = lines.map(([run, metric]) => [run?.epoch ?? [], run?.metrics[metric] ?? (run?.epoch ?? []).map(() => null)]);
  const series = lines.map(([, , style]) => style);
  plot.draw({ title, series, data: uPlot.join(tables), ...rest });
}

function drawConfig(card, stage, sampling) {
  const [summary, text] = card.config.children;
  const data = sampling?.fingerprint?.sha256;
  card.config.hidden = !stage.config;
  summary.textContent = word("config");
  text.textContent = [stage.config, data && word("dataset", { id: data.slice(0, 12) })].filter(Boolean).join(" · ");
}

function drawRuns(card, name, runs, current) {
  const earlier = runs.filter((run) => run !== current).reverse();
  if (unchanged(card, "runs", earlier, current?.status, current?.epoch.length)) return;
  const merit = MERITS[name][0];
  const row = (run) => {
    const last = run.epoch.at(-1) ?? 0;
    const box = el("input", { type: "checkbox", "aria-label": `${word("compare")} ${clock(run.started, true)}` });
    box.checked = card.compared.has(run.run);
    box.addEventListener("change", () => {
      card.compared[box.checked ? "add" : "delete"](run.run);
      document.dispatchEvent(new CustomEvent("compare", { detail: name }));
    });
    const spent = run.result.minutes ?? sum(run.metrics.seconds) / 60;
    return el("tr", {},
      el("td", {}, run === current ? word("this_run") : box),
      el("td", {}, clock(run.started, true)), el("td", {}, word(run.status)),
      el("td", {}, `${last}/${run.epochs ?? "?"}`), el("td", {}, number(bestOf(run, merit), 3)),
      el("td", {}, word("minutes", { n: number(spent, 1) })));
  };
  const heads = ["compare", "started", "status", "epochs"].map((key) => word(key));
  const [summary, body] = card.runs.children;
  summary.textContent = `${word("runs")} (${earlier.length})`;
  body.replaceChildren(earlier.length
    ? table([...heads, word("best", { name: word(merit) }), word("duration")], [...(current ? [current] : []), ...earlier].map(row))
    : el("p", { class: "muted" }, word("no_runs")));
}

const sum = (values) => (values ?? []).reduce((total, value) => total + (value ?? 0), 0);

function drawTable(card, name, run) {
  if (unchanged(card, "table", run?.run, run?.epoch.length)) return;
  const [summary, body] = card.table.children;
  summary.textContent = word("by_epoch");
  if (!run?.epoch.length) {
    body.replaceChildren(el("p", { class: "muted" }, word("no_curve")));
    return;
  }
  const metrics = TABLE[name].filter((metric) => run.metrics[metric]);
  const rows = run.epoch.map((epoch, i) => el("tr", {}, el("th", { scope: "row" }, epoch),
    ...metrics.map((name) => el("td", {}, shortNumber(run.metrics[name][i]))))).slice(-MOST_ROWS).reverse();
  body.replaceChildren(table([word("epoch"), ...metrics.map((metric) => heading(metric))], rows));
}

const heading = (metric) => (metric.startsWith("loss/") ? `${word("loss")}, ${word(metric)}` : word(metric));
