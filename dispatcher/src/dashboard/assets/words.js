// How numbers, times and states are written, with the same words as on the command line. Everything here is pure.

// Every state has a sign of its own, so that colour is never the only one.
export const STATES = {
  waiting: { sign: "·", word: "waiting" },
  ready: { sign: "○", word: "ready" },
  running: { sign: "▸", word: "running" },
  cancelling: { sign: "◂", word: "cancelling" },
  succeeded: { sign: "✓", word: "succeeded" },
  failed: { sign: "✕", word: "failed" },
  cancelled: { sign: "–", word: "cancelled" },
  skipped: { sign: "=", word: "skipped" },
};

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

// The same as `bytes` in `text.rs`. Fractions of a byte, as in rates, are left out.
export function bytes(number) {
  let unit = 0;
  let value = Math.floor(number);
  while ((unit === 0 ? value >= 1024 : Number(value.toFixed(2)) >= 1024) && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${value.toFixed(unit === 0 ? 0 : 2)} ${UNITS[unit]}`;
}

export function rate(number) {
  return `${bytes(number)}/s`;
}

export function count(number) {
  return number.toLocaleString("en");
}

export function percent(done, total) {
  return total > 0 ? Math.floor((done / total) * 100) : 0;
}

// The same as `duration` in `text.rs`.
export function duration(seconds) {
  const whole = Math.floor(seconds);
  const [minutes, hours, days] = [60, 3600, 86400].map((size) => Math.floor(whole / size));
  const two = (number) => String(number).padStart(2, "0");
  if (whole < 1) return "under a second";
  if (minutes < 1) return `${whole} s`;
  if (hours < 1) return `${minutes} min ${two(whole % 60)} s`;
  if (days < 1) return `${hours} h ${two(minutes % 60)} min`;
  return `${days} d ${two(hours % 24)} h`;
}

// The operating system of an image, as `System` in `system.rs` is shown.
export function system({ name, version, kernels, agents, architecture, generations }) {
  const architectures = { x64: "x64", arm64: "Arm64", x86: "32-bit x86" };
  return [
    name,
    version && !name.includes(version) && `version ${version}`,
    kernels[0] && `kernel ${kernels[0]}`,
    ...agents,
    architectures[architecture],
    generations.length > 0 && `generation ${generations.join(" and ")}`,
  ].filter(Boolean).join(", ");
}

export function ago(time) {
  const seconds = (Date.now() - new Date(time).getTime()) / 1000;
  return seconds < 5 ? "just now" : `${duration(seconds)} ago`;
}

export function clock(time) {
  return new Date(time).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
}

// Makes an element. Text is always set as text, so that nothing a row says can become markup.
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === false) continue;
    if (name === "class") element.className = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== undefined && child !== null));
  return element;
}

// Sets text only where it differs: a thousand lines that stay the same cost nothing.
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// The state of a job as the command line shows it: `detail` tells whether a job that runs is requested or cancelling.
export function jobState({ state, detail }) {
  return state === "running" && ["requested", "cancelling"].includes(detail) ? detail : state;
}

export function badge(state) {
  const { sign, word } = STATES[state] ?? { sign: "○", word: state };
  return el("span", { class: `badge s-${state}` }, el("span", { "aria-hidden": "true" }, sign), ` ${word}`);
}
