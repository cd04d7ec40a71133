"use strict";
// Searches the register by what a person sees: v1/search, drugs by zone.

const SHAPES = { // as in register/words.py
  원형: "round", 타원형: "oval", 장방형: "oblong", 반원형: "semicircle", 삼각형: "triangle", 사각형: "square",
  마름모형: "diamond", 오각형: "pentagon", 육각형: "hexagon", 팔각형: "octagon",
};
const SHADES = { // likewise
  하양: "white", 노랑: "yellow", 주황: "orange", 분홍: "pink", 빨강: "red", 갈색: "brown", 연두: "light green", 초록: "green",
  청록: "teal", 파랑: "blue", 남색: "navy", 자주: "magenta", 보라: "purple", 회색: "grey", 검정: "black", 투명: "transparent",
};
const UNCERTAIN = ["partial", "no_data"]; // closed, if a better zone has a drug
Object.assign(WORDS.en, {
  search: "Search by what you see", letters: "Letters and digits on the pill", shape: "Shape", colour: "Colour", find: "Search",
  any: "any", register: "Register of {version}, checked {checked}", more: "{count} more", nothing: "Every drug of the register contradicts this.",
  exact: "Imprint as given", prefix: "Begins with it", contains: "Contains it", misread: "Upside down or look-alike letters",
  partial: "Recorded in part", no_data: "Not recorded",
});
Object.assign(WORDS.ko, {
  search: "눈에 보이는 특징으로 검색", letters: "알약에 적힌 글자와 숫자", shape: "모양", colour: "색", find: "검색",
  any: "전체", register: "낱알식별 자료 {version}, 확인일 {checked}", more: "외 {count}개", nothing: "조건에 맞는 약이 없습니다. 모든 약의 기록이 조건과 모순됩니다.",
  exact: "식별문자 일치", prefix: "식별문자의 앞부분 일치", contains: "식별문자에 포함", misread: "거꾸로 읽거나 비슷한 글자로 읽은 경우",
  partial: "일부만 기록됨", no_data: "기록 없음",
});

function fill(select, words) {
  select.append(new Option(word("any"), ""));
  for (const [korean, english] of Object.entries(words)) select.append(new Option(language === "ko" ? korean : english, korean));
}

function drugLine(drug) {
  const item = element("li", drug.drug_name + " " + (drug.code || drug.item_seq));
  const sides = [drug.print_front, drug.print_back].map((side) => side || "–").join(" | ");
  item.append(element("small", [sides, drug.shape, drug.colours.join("/")].filter(Boolean).join(" · ")));
  return item;
}

function zonePart(name, zone, open) {
  const part = element("details"), list = element("ul");
  part.open = open;
  part.append(element("summary", word(name) + ": " + zone.count), list);
  for (const drug of zone.drugs) list.append(drugLine(drug));
  if (zone.count > zone.drugs.length) list.append(element("li", word("more").replace("{count}", zone.count - zone.drugs.length)));
  return part;
}

async function search() {
  $("found").replaceChildren();
  const asked = new URLSearchParams();
  for (const id of ["imprint", "shape", "colour"]) asked.set(id, $(id).value);
  try {
    const answer = await ask("v1/search?" + asked, {});
    const zones = Object.entries(answer.zones).filter(([, zone]) => zone.count);
    const better = zones.some(([name]) => !UNCERTAIN.includes(name));
    for (const [name, zone] of zones) $("found").append(zonePart(name, zone, !better || !UNCERTAIN.includes(name)));
    const dates = word("register").replace("{version}", answer.version).replace("{checked}", answer.checked);
    $("search-status").textContent = zones.length ? dates : word("nothing");
  } catch (error) {
    $("search-status").textContent = error.message;
  }
}

for (const node of document.querySelectorAll("[data-word]")) node.textContent = word(node.dataset.word);
fill($("shape"), SHAPES);
fill($("colour"), SHADES);
$("search").addEventListener("submit", (event) => {
  event.preventDefault();
  search();
});
