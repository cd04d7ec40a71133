// Starts the page: follows the state of the server and passes each change to the panels.

import { redraw } from "./charts.js";
import { follow } from "./link.js";
import { drawFailures, drawFiles, drawLog, drawMachine, drawPipeline } from "./panels.js";
import { drawTraining, tickTraining } from "./trainings.js";
import { number, switchLanguage, translatePage, word } from "./words.js";

const TRAININGS = ["train_detection", "train_classification"];
let state = null;
let announced = null;
let link = null;
let linkShown = ["connecting", 0];

if (new URLSearchParams(location.search).has("token")) {
  history.replaceState(null, "", location.pathname); // the cookie has it now, and addresses are shared
}

function drawAll() {
  if (!state) return;
  drawPipeline(state);
  drawFailures(state);
  for (const name of TRAININGS) drawTraining(name, state, link.now());
  drawMachine(state);
  drawFiles(state);
  drawLog(state);
  drawTitle();
  announce();
}

function drawTitle() {
  const [name, stage] = Object.entries(state.stages).find(([, s]) => s.status === "running") ?? [];
  const percent = stage?.share_done ? `${Math.floor(stage.share_done * 100)}% ` : "";
  const failed = Object.values(state.stages).some((s) => s.status === "failed");
  document.title = failed ? `✕ ${word("failed")} · PillSnap` : name ? `${percent}${word(name)} · PillSnap` : "PillSnap";
}

/** Announce starts, ends and epochs to screen readers; failures are alerts. */
function announce() {
  const now = Object.fromEntries(Object.entries(state.stages).map(([name, s]) => [name, [s.status, s.epochs_done, s.run]]));
  const news = [];
  for (const [name, stage] of Object.entries(state.stages)) {
    const before = announced?.[name];
    if (!before || JSON.stringify(before) === JSON.stringify(now[name])) continue;
    const places = { stage: word(name), n: stage.epochs_done, of: stage.epochs ?? "?" };
    if (stage.status !== before[0]) {
      if (stage.status === "running") news.push(word("began", places));
      if (stage.status === "done") news.push(word("ended", places));
    } else if (stage.epochs_done > before[1]) news.push(word("epoch_done", places));
  }
  announced = now;
  if (news.length) document.getElementById("announce").textContent = news.join(". ");
}

function drawLink(name, seconds) {
  linkShown = [name, seconds];
  const root = document.getElementById("link");
  const text = word(name, { s: number(seconds) });
  if (root.dataset.state !== name) root.dataset.state = name;
  const node = document.getElementById("link-text");
  if (node.textContent !== text) node.textContent = text;
}

function fillStageFilter() {
  const select = document.getElementById("log-stage");
  const chosen = select.value;
  const names = ["build_manifest", "validate", "train_detection", "train_classification", "evaluate"];
  select.replaceChildren(new Option(word("every_stage"), ""), ...names.map((name) => new Option(word(name), name)));
  select.value = chosen;
}

function translate() {
  translatePage();
  fillStageFilter();
  drawLink(...linkShown);
  redraw();
  drawAll();
}

document.getElementById("language").addEventListener("click", () => { switchLanguage(); translate(); });
for (const id of ["level", "log-stage"]) document.getElementById(id).addEventListener("change", () => state && drawLog(state));
document.addEventListener("texts", drawAll);
document.addEventListener("compare", (event) => drawTraining(event.detail, state, link.now()));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => redraw());

translate();
link = follow((newest) => { state = newest; drawAll(); }, drawLink);
setInterval(() => { if (state && !document.hidden) for (const name of TRAININGS) tickTraining(name, state, link.now()); }, 1000);
