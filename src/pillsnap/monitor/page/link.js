// The connection to the server: keeps `state` equal to the server's, over every interruption.

const SILENCE_MS = 45_000; // the server sends at least every 15 s
const LONGEST_WAIT_S = 15;
const POLL_MS = 3000;

/** Calls `onChange(state)` at each change and `onLink(name, seconds)` as the connection comes and goes. */
export function follow(onChange, onLink) {
  const link = { state: {}, seq: 0, socket: null, failures: 0, received: 0, timer: 0, ahead: 0, attempt: 0, sockets: false };

  function connect() {
    clearTimeout(link.timer);
    link.attempt += 1;
    // A proxy may pass no WebSockets: until one has worked, every other attempt asks without.
    if (link.sockets || link.failures % 2 === 0) open();
    else poll(link.attempt);
  }

  function open() {
    const address = new URL("ws", document.baseURI);
    address.protocol = address.protocol.replace("http", "ws");
    if (link.seq) address.search = `?since=${link.seq}`;
    const socket = new WebSocket(address);
    link.socket = socket;
    link.received = Date.now();
    socket.onmessage = (event) => {
      if (socket !== link.socket) return;
      link.sockets = true;
      receive(JSON.parse(event.data));
    };
    socket.onclose = () => { if (socket === link.socket) retry(); };
  }

  async function poll(attempt) {
    try {
      const { seq, now, ...set } = await (await fetch("api/state")).json();
      if (attempt !== link.attempt) return;
      receive({ seq, now, set });
      link.failures = 1; // stay with it
      link.timer = setTimeout(connect, POLL_MS);
    } catch {
      if (attempt === link.attempt) retry();
    }
  }

  function receive(message) {
    link.received = Date.now();
    link.failures = 0;
    link.ahead = message.now - Date.now() / 1000;
    link.seq = message.seq;
    onLink("live", 0);
    const changed = Object.entries(message.set);
    for (const [key, value] of changed) {
      link.state[key] = Array.isArray(value) || typeof value !== "object" ? value : { ...link.state[key], ...value };
    }
    if (changed.length) onChange(link.state);
  }

  function retry() {
    link.socket = null;
    const wait = Math.min(LONGEST_WAIT_S, 2 ** link.failures);
    link.failures += 1;
    const until = Date.now() + wait * (750 + Math.random() * 500); // so that viewers do not return all at once
    const count = () => {
      const left = Math.ceil((until - Date.now()) / 1000);
      if (left > 0) {
        onLink("lost", left);
        link.timer = setTimeout(count, 500);
      } else {
        onLink("behind", 0);
        connect();
      }
    };
    clearTimeout(link.timer);
    count();
  }

  function wake() {
    if (document.visibilityState === "hidden") return;
    const socket = link.socket;
    if (socket && Date.now() - link.received > SILENCE_MS) {
      link.socket = null;
      socket.close();
    }
    if (!link.socket) {
      link.failures = link.sockets ? 0 : link.failures;
      onLink("behind", 0);
      connect();
    }
  }

  document.addEventListener("visibilitychange", wake);
  window.addEventListener("online", wake);
  setInterval(() => { if (link.socket && Date.now() - link.received > SILENCE_MS) wake(); }, 5000);
  connect();
  return { now: () => Date.now() / 1000 + link.ahead };
}
