// Throughput over time.

import { clock, el, rate, say } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 100;
const LATELY = 6;

export class Chart {
  constructor() {
    this.svg = document.createElementNS(SVG, "svg");
    this.svg.setAttribute("viewBox", `0 0 60 ${HEIGHT}`);
    this.svg.setAttribute("preserveAspectRatio", "none");
    this.svg.setAttribute("role", "img");
    this.area = document.createElementNS(SVG, "path");
    this.area.setAttribute("class", "area");
    this.line = document.createElementNS(SVG, "path");
    this.line.setAttribute("class", "line");
    this.line.setAttribute("vector-effect", "non-scaling-stroke");
    this.svg.append(this.area, this.line);
    this.top = el("span", { class: "top-label" });
    this.from = el("span");
    this.to = el("span");
    this.now = el("span", { class: "tally" });
    this.element = el("section", { class: "panel" }, el("h2", {}, "Throughput"), this.now,
      el("div", { class: "chart" }, this.top, this.svg, el("div", { class: "axis" }, this.from, this.to)));
  }

  draw(series, running) {
    if (!series) return;
    const points = series.bytes_per_second;
    const peak = Math.max(...points, 0);
    const ceiling = nice(peak);
    const y = (value) => (HEIGHT - (value / ceiling) * (HEIGHT - 2)).toFixed(2);
    // Steps, as each point is a stretch of time, and a line between two would tell of rates that nobody measured.
    const steps = points.map((value, n) => `${n === 0 ? "M" : "L"}${n} ${y(value)}H${n + 1}`).join("");
    this.line.setAttribute("d", steps);
    this.area.setAttribute("d", `${steps}V${HEIGHT}H0Z`);
    say(this.top, peak > 0 ? rate(ceiling) : "");
    say(this.from, clock(series.from));
    say(this.to, running ? "now" : clock(new Date(series.from).getTime() + series.step_seconds * points.length * 1000));
    // Workers tell how far they are every few seconds: over less than that there may be nothing to see.
    const last = points.slice(-Math.max(3, Math.ceil(LATELY / series.step_seconds)));
    const lately = last.reduce((sum, value) => sum + value, 0) / last.length;
    const text = running ? `${rate(lately)} lately, ${rate(peak)} at most` : `${rate(peak)} at most`;
    say(this.now, text);
    this.svg.setAttribute("aria-label", `Throughput: ${text}`);
  }
}

// The next number that reads well: 1, 2 or 5 times a power of two's unit.
function nice(value) {
  if (value <= 0) return 1;
  let unit = 1;
  while (value / unit >= 1024) unit *= 1024;
  const steps = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1024];
  return unit * (steps.find((step) => step * unit >= value) ?? 1024);
}
