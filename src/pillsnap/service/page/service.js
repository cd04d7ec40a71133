"use strict";
// Sends photos to v1/recognise, or with a prescription to v1/check, and draws the answer.

const COLOURS = { confident: "#0072b2", doubtful: "#7a5a00", unknown: "#be4600" };
const DOUBTFUL_BELOW = 0.9; // as in recognition/certainty.py
const WORDS = {
  en: {
    note: "Not a medical device. Names may be wrong: check them against the package.",
    choose: "Choose photos or drop them here", key: "API key", working: "Recognising…",
    unknown: "Unknown pill", nearest: "most similar", confidence: "confidence",
    doubtful: "Doubtful: check the imprint.", or: "or", imprint: "imprint", contradicts: "unlike this drug's",
    none: "No pill found.", lost: "The service does not answer: {text}", agrees: "agrees",
    prescription: "Prescription to compare with, a code and a count per line (optional)",
    all_right: "All right", not_all_right: "NOT all right", right: "right", missing: "missing", extra: "extra", unsure: "unsure",
    no_class: "no class of this model", not_read: "not read",
  },
  ko: {
    note: "의료기기가 아닙니다. 이름이 틀릴 수 있으니 약 포장과 대조해 확인하세요.",
    choose: "사진을 선택하거나 여기에 끌어다 놓으세요", key: "API 키", working: "인식하는 중…",
    unknown: "학습하지 않은 알약", nearest: "가장 비슷한 약", confidence: "신뢰도",
    doubtful: "불확실: 각인을 확인하세요.", or: "또는", imprint: "각인", contradicts: "이 약의 각인과 다름",
    none: "알약을 찾지 못했습니다.", lost: "서비스가 응답하지 않습니다: {text}", agrees: "일치",
    prescription: "대조할 처방. 한 줄에 코드와 개수(선택)",
    all_right: "처방과 일치합니다", not_all_right: "처방과 일치하지 않습니다", right: "일치", missing: "부족", extra: "초과", unsure: "판정 불가",
    no_class: "이 모델에 없는 약", not_read: "읽지 못한 사진",
  },
};
const language = (navigator.language || "en").toLowerCase().startsWith("ko") ? "ko" : "en";
const word = (key) => WORDS[language][key];
const $ = (id) => document.getElementById(id);

function element(name, text, className) {
  const made = document.createElement(name);
  made.textContent = text || "";
  if (className) made.className = className;
  return made;
}

// The next three as in recognition/certainty.py.
function percent(share) {
  const text = (100 * share).toFixed(0) + "%";
  return text === "100%" ? ">99%" : text;
}

function contradicted(pill) {
  return Boolean(pill.imprint) && pill.imprint.verdict === "contradicts";
}

function certainty(pill) {
  if (!pill.known) return "unknown";
  return contradicted(pill) || pill.confidence < DOUBTFUL_BELOW ? "doubtful" : "confident";
}

function second(pill) {
  return certainty(pill) === "doubtful" ? pill.candidates[1] : undefined;
}

async function ask(path, options) {
  const headers = $("key").value ? { "X-API-Key": $("key").value } : {};
  let response, answer;
  try {
    response = await fetch(path, { ...options, headers });
    answer = await response.json();
  } catch (error) { // no connection, or a proxy's own page
    throw new Error(word("lost").replace("{text}", response ? response.status : error.message));
  }
  if (response.status === 401) $("key-field").hidden = false;
  if (answer.error) throw new Error(answer.error.fact + " " + answer.error.cure);
  return answer;
}

function send(files) {
  const body = new FormData(), listed = $("prescription").value.trim();
  for (const file of files) body.append("image", file, file.name);
  if (listed) body.append("prescription", listed);
  return ask(listed ? "v1/check" : "v1/recognise", { method: "POST", body });
}

function drawPill(pen, pill, unit) {
  const [x, y, width, height] = pill.box;
  const look = certainty(pill), next = second(pill);
  let name = pill.known ? pill.drug_name + " " + percent(pill.confidence) : word("unknown");
  if (next) name += " " + word("or") + " " + next.drug_name + " " + percent(next.probability);
  pen.strokeStyle = pen.fillStyle = COLOURS[look];
  pen.lineWidth = unit / 6;
  pen.setLineDash(look === "doubtful" ? [unit / 2, unit / 3] : []);
  pen.strokeRect(x, y, width, height);
  pen.font = "600 " + unit + "px system-ui, 'Noto Sans KR', sans-serif";
  const plate = pen.measureText(name).width + unit / 2;
  const left = Math.max(0, Math.min(x, pen.canvas.width - plate));
  const top = Math.max(0, y - 1.4 * unit);
  pen.fillRect(left, top, plate, 1.4 * unit);
  pen.fillStyle = "#fff";
  pen.fillText(name, left + unit / 4, top + 1.05 * unit);
}

async function photo(file, image) {
  const canvas = element("canvas");
  canvas.width = image.width;
  canvas.height = image.height;
  const pen = canvas.getContext("2d");
  try {
    const bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
    pen.drawImage(bitmap, 0, 0, image.width, image.height);
  } catch {
    pen.fillStyle = "#888"; // a format the service reads and the browser does not: TIFF
    pen.fillRect(0, 0, image.width, image.height);
  }
  const unit = Math.max(12, Math.max(image.width, image.height) / 45);
  for (const pill of [...image.pills].reverse()) drawPill(pen, pill, unit);
  return canvas;
}

function listed(pill) {
  const item = element("li");
  const first = pill.candidates[0], next = second(pill);
  const others = pill.candidates.slice(1).filter((each) => each === next || pill.names.includes(each.code));
  if (pill.known) {
    item.append(element("span", pill.drug_name, certainty(pill)), " " + pill.code);
    item.append(element("small", word("confidence") + " " + percent(pill.confidence) + " · EDI " + (pill.edi_codes.join(", ") || "–")));
    if (certainty(pill) === "doubtful") item.append(element("small", word("doubtful"), "doubtful"));
    for (const each of others) item.append(element("small", word("or") + " " + each.drug_name + " " + each.code + " " + percent(each.probability)));
  } else {
    item.append(element("span", word("unknown"), "unknown"));
    item.append(element("small", word("nearest") + ": " + first.drug_name + " " + first.code));
  }
  if (pill.imprint && pill.imprint.text) item.append(element("small", imprint(pill)));
  return item;
}

function imprint(pill) {
  const verdict = pill.known && pill.imprint.verdict !== "unsure" ? " (" + word(pill.imprint.verdict) + ")" : "";
  const fits = pill.imprint.candidates.map((drug) => " · " + drug.drug_name + " " + (drug.code || drug.item_seq));
  return word("imprint") + " " + pill.imprint.text + verdict + fits.join("");
}

async function show(file, image) {
  const article = element("article");
  if (image.error) {
    article.append(element("p", image.error.fact + " " + image.error.cure, "error"));
  } else {
    const list = element("ol");
    for (const pill of image.pills) list.append(listed(pill));
    if (!image.pills.length) list.append(element("p", word("none")));
    article.append(await photo(file, image), list);
  }
  $("results").append(article);
}

const LOOK_OF = { right: "confident", unsure: "doubtful", missing: "unknown", extra: "unknown" };

function verdictLine(status, text) {
  const item = element("li");
  item.append(element("span", word(status), LOOK_OF[status] || "unknown"), " " + text);
  return item;
}

function leftOver(pill) {
  const name = pill.code || word("unknown") + ", " + word("nearest") + " " + pill.candidates[0][0];
  return chosen.length > 1 ? name + " · " + pill.path : name;
}

function showVerdict(verdict) {
  const list = element("ul");
  for (const drug of verdict.drugs) {
    list.append(verdictLine(drug.status, drug.found + "/" + drug.count + " " + drug.asked + " " + (drug.drug_name || word("no_class"))));
  }
  for (const status of ["extra", "unsure"]) {
    for (const pill of verdict[status]) list.append(verdictLine(status, leftOver(pill)));
  }
  for (const path of verdict.refused) list.append(verdictLine("not_read", path));
  const result = verdict.all_right ? "all_right" : "not_all_right";
  $("verdict").append(element("h2", word(result), verdict.all_right ? "confident" : "unknown"), list);
}

let chosen = [];

async function recognise(files) {
  if (!files.length) return;
  chosen = files;
  $("verdict").replaceChildren();
  $("results").replaceChildren();
  $("status").textContent = word("working");
  try {
    const { images, verdict } = await send(files);
    if (verdict) showVerdict(verdict);
    for (let i = 0; i < images.length; i += 1) await show(files[i], images[i]);
    $("status").textContent = "";
  } catch (error) {
    $("status").textContent = error.message;
  }
}

document.documentElement.lang = language;
$("files").addEventListener("change", (event) => recognise([...event.target.files]));
$("prescription").addEventListener("change", () => recognise(chosen));
$("form").addEventListener("submit", (event) => event.preventDefault());
for (const kind of ["dragover", "dragleave", "drop"]) {
  $("drop").addEventListener(kind, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop") recognise([...event.dataTransfer.files]);
  });
}
