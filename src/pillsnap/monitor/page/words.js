// The texts of the page in English and Korean, and the format of numbers and times.

const WORDS = {
  en: {
    skip: "Skip to content", pipeline: "Pipeline", machine: "Hardware", data: "Data", results: "Results",
    log: "Log", level: "Level", stage: "Stage", every_stage: "all",
    level_DEBUG: "all", level_INFO: "info and above", level_WARNING: "warnings and errors", level_ERROR: "errors",
    build_manifest: "Manifest", validate: "Validation", train_detection: "Detection",
    train_classification: "Classification", evaluate: "Evaluation",
    idle: "not started", running: "running", done: "done", failed: "failed", stalled: "stalled", interrupted: "interrupted",
    connecting: "connecting…", live: "live", lost: "connection lost, retrying in {s} s", behind: "reconnecting…",
    nothing_yet: "Nothing has run yet. Start with pillsnap train; this page updates by itself.",
    source: "{events} events from {path}", skipped: "{n} unreadable lines skipped", problem: "cannot read: {text}",
    epoch: "Epoch", epoch_of: "Epoch {n} of {of}", step_of: "step {n} of {of}", resumed: "resuming after epoch {n}",
    images_per_s: "Images/s", left: "Time left", ends: "ends at about", took: "Duration", since: "started",
    silent_for: "no event for {t}", best: "Best {name}", goal: "goal {v}", met: "goal met", missed: "below goal", over: "over goal",
    merit: "Accuracy", detection_merit: "mAP", loss: "Loss", lr: "Learning rate",
    "loss/train": "train", "loss/val": "validation", map50: "mAP50", map50_95: "mAP50-95", top1: "top-1", top5: "top-5",
    precision: "precision", recall: "recall", seconds: "seconds", minutes: "{n} min", compared: "earlier run",
    no_curve: "The curve starts after the first epoch.",
    runs: "Earlier runs", compare: "compare", started: "started", status: "status", epochs: "epochs", duration: "duration",
    no_runs: "No earlier run in the log.", this_run: "this run", by_epoch: "Metrics by epoch",
    gpu: "GPU", gpu_none: "none: no NVIDIA GPU on this machine, training runs on the CPU", gpu_util: "GPU utilisation", gpu_memory: "GPU memory",
    temperature: "GPU temperature", power: "GPU power", cpu: "CPU", ram: "RAM", disk: "Free disk space",
    load_chart: "Utilisation, %", memory_chart: "Memory, GB", heat_chart: "GPU temperature and power",
    no_hardware: "No sample yet.", sampled: "sampled at {t}", last_hour: "last hour",
    no_validation: "No validation.json yet: the validate stage writes it.", no_metrics: "No metrics.json yet: the evaluate stage writes it.",
    check: "check", count: "count", pass: "pass", warn: "warning", fail: "failed", examples: "examples",
    admitted: "admitted", rejected: "rejected", pills: "pills", frames: "photos", classes: "classes",
    metric: "metric", value: "value", target: "goal", no_log: "No log lines at this level.",
    classification_top1: "top-1 (classification)", detection_map50: "mAP50 (detection)", training_minutes: "training time, min",
    group_detection: "detection", group_classification: "classification", group_pipeline: "pipeline", group_unknown: "unknown pills",
    measured: "Measured {t}", checked: "Checked {t}", revision: "revision {id}", run: "run {id}", unknown: "unknown",
    earlier_metrics: "From an earlier run: goals are checked after the next evaluation.",
    earlier_validation: "From an earlier run: the validate stage has not completed since.",
    what: "What happened", cause: "Likely cause", cures: "What to do",
    footer: "Read-only: nothing on this page starts, stops or changes a run.",
    began: "{stage} started", ended: "{stage} finished", epoch_done: "{stage}: epoch {n} of {of} done",
    per_image: "Time per image", pipeline_left: "{stage} runs. About {t} left for the whole pipeline, until about {at}.",
    pipeline_least: "{stage} runs. At least {t} left: {stages} has no earlier run to estimate from.",
    config: "Configuration of this run", passed: "{n} checks passed", dataset: "data {id}",
    report: "Evaluation report", validation_report: "Data report", predictions: "Predictions", predictions_note: "Boxes and names on validation photos, from the last evaluation.",
    earlier_predictions: "Boxes and names on validation photos, from an earlier run.",
    later_train_detection: "The curves appear here while the detector trains.",
    later_train_classification: "The curves appear here while the classifier trains, after the detector.",
    h: " h", min: " min", s: " s",
  },
  ko: {
    skip: "본문으로 건너뛰기", pipeline: "파이프라인", machine: "하드웨어", data: "데이터", results: "결과",
    log: "로그", level: "레벨", stage: "단계", every_stage: "전체",
    level_DEBUG: "전체", level_INFO: "정보 이상", level_WARNING: "경고 이상", level_ERROR: "오류만",
    build_manifest: "매니페스트 생성", validate: "데이터 검증", train_detection: "검출",
    train_classification: "분류", evaluate: "평가",
    idle: "시작 전", running: "진행 중", done: "완료", failed: "실패", stalled: "응답 없음", interrupted: "중단됨",
    connecting: "연결하는 중…", live: "실시간", lost: "연결 끊김, {s}초 후 재시도", behind: "다시 연결하는 중…",
    nothing_yet: "아직 실행한 단계가 없습니다. pillsnap train을 실행하면 이 화면이 자동으로 갱신됩니다.",
    source: "이벤트 {events}개 ({path})", skipped: "읽을 수 없는 {n}줄 건너뜀", problem: "읽을 수 없음: {text}",
    epoch: "에폭", epoch_of: "에폭 {n}/{of}", step_of: "스텝 {n}/{of}", resumed: "에폭 {n} 이후부터 재개",
    images_per_s: "초당 이미지 수", left: "남은 시간", ends: "종료 예정", took: "소요 시간", since: "시작",
    silent_for: "{t} 동안 이벤트 없음", best: "최고 {name}", goal: "목표 {v}", met: "목표 달성", missed: "목표 미달", over: "목표 초과",
    merit: "정확도", detection_merit: "mAP", loss: "손실", lr: "학습률",
    "loss/train": "학습", "loss/val": "검증", map50: "mAP50", map50_95: "mAP50-95", top1: "top-1", top5: "top-5",
    precision: "정밀도", recall: "재현율", seconds: "초", minutes: "{n}분", compared: "이전 실행",
    no_curve: "첫 에폭이 끝나면 그래프가 표시됩니다.",
    runs: "이전 실행", compare: "비교", started: "시작", status: "상태", epochs: "에폭", duration: "소요 시간",
    no_runs: "로그에 이전 실행이 없습니다.", this_run: "현재 실행", by_epoch: "에폭별 지표",
    gpu: "GPU", gpu_none: "없음: NVIDIA GPU가 없어 CPU로 학습합니다", gpu_util: "GPU 사용률", gpu_memory: "GPU 메모리",
    temperature: "GPU 온도", power: "GPU 전력", cpu: "CPU", ram: "RAM", disk: "디스크 여유 공간",
    load_chart: "사용률(%)", memory_chart: "메모리(GB)", heat_chart: "GPU 온도와 전력",
    no_hardware: "아직 측정값이 없습니다.", sampled: "{t} 측정", last_hour: "최근 1시간",
    no_validation: "validation.json이 아직 없습니다. validate 단계에서 생성합니다.", no_metrics: "metrics.json이 아직 없습니다. evaluate 단계에서 생성합니다.",
    check: "검사", count: "건수", pass: "통과", warn: "경고", fail: "실패", examples: "예시",
    admitted: "사용", rejected: "제외", pills: "알약", frames: "사진", classes: "클래스",
    metric: "지표", value: "값", target: "목표", no_log: "이 레벨의 로그가 없습니다.",
    classification_top1: "top-1(분류)", detection_map50: "mAP50(검출)", training_minutes: "학습 시간(분)",
    group_detection: "검출", group_classification: "분류", group_pipeline: "파이프라인", group_unknown: "학습하지 않은 알약",
    measured: "{t} 측정", checked: "{t} 검사", revision: "리비전 {id}", run: "실행 {id}", unknown: "알 수 없음",
    earlier_metrics: "이전 실행의 결과입니다. 다음 평가가 끝나면 목표 달성 여부를 표시합니다.",
    earlier_validation: "이전 실행의 결과입니다. 그 이후 validate 단계가 완료되지 않았습니다.",
    what: "오류 내용", cause: "추정 원인", cures: "해결 방법",
    footer: "읽기 전용 화면입니다. 여기에서는 실행을 시작, 중지, 변경할 수 없습니다.",
    began: "{stage} 시작", ended: "{stage} 완료", epoch_done: "{stage}: 에폭 {n}/{of} 완료",
    per_image: "이미지당 시간", pipeline_left: "{stage} 진행 중. 전체 파이프라인이 끝날 때까지 약 {t} 남음({at}경 종료).",
    pipeline_least: "{stage} 진행 중. 최소 {t} 남음. {stages} 단계는 이전 실행 기록이 없어 예상 시간을 계산할 수 없습니다.",
    config: "현재 실행의 설정", passed: "통과한 검사 {n}개", dataset: "데이터 {id}",
    report: "평가 보고서", validation_report: "데이터 검증 보고서", predictions: "예측 결과", predictions_note: "최근 평가에서 검증 사진에 표시한 박스와 약품명입니다.",
    earlier_predictions: "이전 실행에서 검증 사진에 표시한 박스와 약품명입니다.",
    later_train_detection: "검출기 학습이 시작되면 여기에 학습 곡선이 표시됩니다.",
    later_train_classification: "검출기 학습이 끝나고 분류기 학습이 시작되면 여기에 학습 곡선이 표시됩니다.",
    h: "시간", min: "분", s: "초",
  },
};

let language = firstLanguage();

function firstLanguage() {
  try {
    const kept = localStorage.getItem("language");
    if (kept in WORDS) return kept;
  } catch { /* no storage here: the browser's language */ }
  return (navigator.language || "en").toLowerCase().startsWith("ko") ? "ko" : "en";
}

export const currentLanguage = () => language;

export function switchLanguage() {
  language = language === "en" ? "ko" : "en";
  try { localStorage.setItem("language", language); } catch { /* as above */ }
}

/** The word for `key` with {places} filled in; an unknown key is shown as it is. */
export function word(key, places = {}) {
  const text = WORDS[language][key] ?? key;
  return text.replace(/\{(\w+)\}/g, (_, name) => String(places[name] ?? ""));
}

let failureTexts = []; // [pattern of the English text, Korean text] of the known failures

fetch("page/failures.json").then((answer) => answer.json()).then((texts) => {
  failureTexts = Object.entries(texts).map(([english, korean]) => {
    const escaped = english.replace(/[.*+?^$()|[\]\\]/g, "\\$&").replace(/\{(\w+)\}/g, "(?<$1>.*?)");
    return [new RegExp(`^${escaped}$`, "s"), korean];
  });
  document.dispatchEvent(new Event("texts"));
}).catch(() => {}); // English then

/** A failure's text in Korean where it is a known one; of a cure, the remark behind the command. */
export function failureText(text) {
  if (language === "en") return text;
  const [, command, remark] = text.match(/^(.*?  # )(.*)$/s) ?? [text, "", text];
  for (const [pattern, korean] of failureTexts) {
    const found = remark.match(pattern);
    if (found) return command + korean.replace(/\{(\w+)\}/g, (_, name) => found.groups[name]);
  }
  return text;
}

export function translatePage() {
  document.documentElement.lang = language;
  for (const node of document.querySelectorAll("[data-word]")) node.textContent = word(node.dataset.word);
  const button = document.getElementById("language");
  button.textContent = language === "en" ? "한국어" : "English";
  button.lang = language === "en" ? "ko" : "en";
}

/** A number with `digits` after the point; a dash where there is none. */
export function number(value, digits = 0) {
  if (value === null || value === undefined) return "–";
  return value.toLocaleString(language, { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

/** A metric of unknown size: four significant digits. */
export function shortNumber(value) {
  if (value === null || value === undefined) return "–";
  if (value !== 0 && Math.abs(value) < 0.001) return value.toExponential(1);
  return value.toLocaleString(language, { maximumSignificantDigits: 4 });
}

export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60)];
  if (hours) return `${hours}${word("h")} ${String(minutes).padStart(2, "0")}${word("min")}`;
  return minutes ? `${minutes}${word("min")} ${whole % 60}${word("s")}` : `${whole}${word("s")}`;
}

export function clock(seconds, withDay = false) {
  const day = withDay ? { month: "short", day: "numeric" } : {};
  const when = new Date(seconds * 1000);
  return when.toLocaleTimeString(language, { ...day, hour: "2-digit", minute: "2-digit", hour12: false });
}

export function clockWithSeconds(seconds) {
  return new Date(seconds * 1000).toLocaleTimeString("en-GB");
}
