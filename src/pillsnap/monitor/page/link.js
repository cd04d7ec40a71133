// The line to the server: keeps `state` the same as the server's, over every pause.

const SILENCE_MS = 45_000; // the server speaks every 15 s
const LONGEST_WAIT_S = 15;

/** Calls `onChange(state)` at each change and `onLink(name, seconds)` as the line comes and goes. */
export function follow(onChange, onLink) {
  const line = { state: null, seq: null, generation: "", socket: null, failures: 0, heard: 0, timer: 0, ahead: 0 };

  function open() {
    clearInterval(line.timer);
    const known = line.state ? `?since=${line.seq}&generation=${line.generation}` : "";
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(`${scheme}//${location.host}/ws${known}`);
    line.socket = socket;
    line.heard = Date.now();
    socket.onmessage = (event) => { if (socket === line.socket) hear(JSON.parse(event.data)); };
    socket.onclose = () => { if (socket === line.socket) retry(); };
  }

  function hear(message) {
    line.heard = Date.now();
    line.failures = 0;
    line.ahead = message.now - Date.now() / 1000;
    onLink("live", 0);
    if (message.type === "tick") return;
    if (!apply(line, message)) { // a gap: ask for everything
      line.state = null;
      line.socket.close();
      return;
    }
    onChange(line.state);
  }

  function retry() {
    line.socket = null;
    const wait = Math.min(LONGEST_WAIT_S, 2 ** line.failures);
    line.failures += 1;
    const until = Date.now() + wait * (750 + Math.random() * 500); // so that viewers do not return as one
    const count = () => {
      const left = Math.ceil((until - Date.now()) / 1000);
      if (left > 0) onLink("lost", left); else { onLink("behind", 0); open(); }
    };
    clearInterval(line.timer);
    line.timer = setInterval(count, 500);
    count();
  }

  function wake() {
    if (document.visibilityState === "hidden") return;
    const socket = line.socket;
    const dead = socket && Date.now() - line.heard > SILENCE_MS;
    if (dead) { line.socket = null; socket.close(); }
    if (!line.socket) { line.failures = 0; onLink("behind", 0); open(); }
  }

  document.addEventListener("visibilitychange", wake);
  window.addEventListener("online", wake);
  setInterval(() => { if (line.socket && Date.now() - line.heard > SILENCE_MS) wake(); }, 5000);
  open();
  return { now: () => Date.now() / 1000 + line.ahead };
}

function apply(line, message) {
  if (message.type === "state") {
    line.state = message.state;
  } else {
    if (!line.state || message.since !== line.seq || message.generation !== line.generation) return false;
    for (const [outer, group] of Object.entries(message.set)) Object.assign(line.state[outer], group);
    const limits = line.state.hardware.limits;
    for (const name of ["logs", "history"]) {
      line.state[name] = [...line.state[name], ...message.append[name]].slice(-limits[name]);
    }
    const newest = line.state.history.at(-1)?.[0];
    line.state.history = line.state.history.filter(([time]) => newest - time <= limits.history_s);
  }
  line.seq = message.seq;
  line.generation = message.generation;
  return true;
}
