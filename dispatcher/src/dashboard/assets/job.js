// One job: it listens to what changes, and has the parts of the page draw what they show of it.

import { Actions } from "./actions.js";
import { Chart } from "./chart.js";
import { Failures } from "./failures.js";
import { Matrix } from "./matrix.js";
import { Job } from "./model.js";
import { Tree } from "./tree.js";
import { STATES, badge, bytes, count, duration, el, jobState, rate, say, system } from "./words.js";

const AGAIN = 3000;
const SLIM = 12;
const NEWS_EVERY = 10000;
const PARTS = ["succeeded", "skipped", "running", "failed", "cancelled", "waiting"];

export class JobView {
  constructor(parent, id, filter, { linked }) {
    this.id = id;
    this.filter = filter;
    this.linked = linked;
    this.job = new Job(id);
    this.touched = new Set();
    this.build(parent);
    this.filterFromAddress(filter);
    this.listen();
  }

  build(parent) {
    this.title = el("h1", {}, "…");
    this.state = el("span");
    this.reason = el("p", { class: "error", hidden: true });
    this.ring = el("span");
    this.awaits = el("p", { class: "awaits", role: "status", hidden: true }, this.ring, el("code", {}, `goldfleet approve ${this.id}`));
    this.figures = el("dl", { class: "figures" });
    this.actions = new Actions(this);
    this.phases = el("div", { class: "phases" });
    this.phaseBars = new Map();
    this.chart = new Chart();
    this.tree = new Tree();
    this.matrix = new Matrix(this);
    this.failures = new Failures(this);
    const head = el("div", { class: "head" }, el("div", { class: "title" }, this.title, this.state), this.actions.element);
    this.lower = el("div", { class: "lower" }, this.matrix.element, this.chart.element, this.tree.element);
    parent.append(head, this.reason, this.awaits, this.figures, this.phases, this.failures.element, this.filterBar(), this.lower);
  }

  // The bar of a phase, which is added when the first operation of its kind is known.
  phase(kind, { title }) {
    const known = this.phaseBars.get(kind);
    if (known) return known;
    const bar = el("div", { class: "stack", role: "img" });
    const parts = Object.fromEntries(PARTS.map((part) => [part, el("span", { class: `s-${part}` })]));
    bar.append(...PARTS.map((part) => parts[part]));
    const text = el("span", { class: "tally" });
    this.phases.append(el("section", {}, el("h2", {}, title || kind), text, bar));
    const made = { bar, parts, text };
    this.phaseBars.set(kind, made);
    return made;
  }

  filterBar() {
    this.text = el("input", {
      id: "filter", type: "search", placeholder: "subscription or region", autocomplete: "off", spellcheck: "false",
      oninput: () => this.filterChanged(),
    });
    const states = Object.entries(STATES).map(([state, { sign, word }]) => el("option", { value: state }, `${sign} ${word}`));
    this.select = el("select", { id: "filter-state", onchange: () => this.filterChanged() },
      el("option", { value: "" }, "any state"), ...states);
    this.shown = el("span", { class: "shown", role: "status" });
    return el("search", { class: "filter" }, el("label", { for: "filter" }, "Filter "), this.text,
      el("label", { for: "filter-state", class: "unseen" }, "State"), this.select, this.shown);
  }

  // Listens to the job, and again when the line is cut.
  listen() {
    this.source?.close();
    const source = new EventSource(`api/jobs/${encodeURIComponent(this.id)}/events`);
    this.source = source;
    const take = (first) => (event) => {
      if (first) this.job.clear();
      const { touched, grown } = this.job.apply(JSON.parse(event.data));
      touched.forEach((key) => this.touched.add(key));
      this.grown ||= grown || first;
      this.soon();
      this.isLinked();
    };
    source.addEventListener("whole", take(true));
    source.addEventListener("change", take(false));
    source.addEventListener("trouble", (event) => this.linked("trouble", JSON.parse(event.data).error));
    source.onerror = () => this.lost(source);
  }

  async lost(source) {
    this.linked("reconnecting", "reconnecting");
    if (source.readyState !== EventSource.CLOSED || this.closed) return;
    this.timer = setTimeout(() => this.listen(), AGAIN);
    try {
      const answer = await fetch(`api/jobs/${encodeURIComponent(this.id)}`);
      if (answer.ok) return;
      const { error, hint } = await answer.json();
      say(this.title, "There is nothing to show");
      this.reason.hidden = false;
      say(this.reason, [error, hint].filter(Boolean).join(": "));
    } catch {
      // Still no line; it is tried again anyway.
    }
  }

  isLinked() {
    const running = this.job.status?.state === "running";
    this.linked(running ? "live" : "ended", running ? "live" : "ended, still watching");
  }

  // Draws once a frame, whatever has come meanwhile.
  soon() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.draw();
    });
  }

  draw() {
    const { status } = this.job;
    if (!status) return;
    say(this.title, status.title);
    const state = jobState(status);
    if (this.state.dataset.state !== state) {
      this.state.dataset.state = state;
      this.state.replaceChildren(badge(state));
    }
    this.reason.hidden = !status.reason;
    say(this.reason, status.reason ?? "");
    const ring = status.approvals?.waits ?? null;
    this.awaits.hidden = ring === null;
    say(this.ring, ring === null ? "" : `Ring ${ring} waits for approval: `);
    this.drawFigures(status);
    for (const kind of this.job.kinds()) this.drawPhase(this.phase(kind, status.phases[kind]), status.phases[kind]);
    this.actions.draw(status);
    this.chart.draw(this.job.throughput, status.state === "running");
    this.tree.draw(this.job.tree);
    this.failures.draw();
    if (this.grown) {
      this.matrix.build();
      // A slim matrix leaves room beside it.
      this.lower.classList.toggle("slim", this.job.regions.length <= SLIM);
    } else {
      this.matrix.update(this.touched);
    }
    this.grown = false;
    this.touched = new Set();
    this.drawShown();
    this.news(status);
  }

  drawFigures(status) {
    const wan = Object.values(status.wan_bytes);
    const figures = [
      ["data of the image", bytes(status.data_bytes)],
      ["over the WAN", `${bytes(wan.reduce((sum, n) => sum + n, 0))} to ${wan.length} region${wan.length === 1 ? "" : "s"}`],
      ...(status.bytes_per_second >= 1
        ? [[status.finished ? "on average" : "in the last minutes", rate(status.bytes_per_second)]]
        : []),
      [status.finished ? "took" : "so far", duration(status.seconds)],
    ];
    if (status.seconds_left !== null) figures.push(["left, about", duration(status.seconds_left)]);
    if (status.idle_seconds) figures.push(["no worker active for", duration(status.idle_seconds)]);
    if (status.system) figures.push(["system", system(status.system)]);
    if (status.requested_by) figures.push(["requested by", status.requested_by]);
    if (status.selection?.length) figures.push(["targets", status.selection.join(" or ")]);
    if (status.note) figures.push(["note", status.note]);
    const upload = status.upload;
    if (upload && upload.state !== "complete") figures.unshift(["upload", `${upload.percent.toFixed(1)} %`]);
    const items = this.figures.children;
    if (items.length !== figures.length) {
      this.figures.replaceChildren(...figures.map(() => el("div", {}, el("dt"), el("dd"))));
    }
    figures.forEach(([name, value], n) => {
      say(items[n].firstChild, name);
      say(items[n].lastChild, value);
    });
  }

  drawPhase({ bar, parts, text }, phase) {
    const done = phase.succeeded + phase.skipped;
    const said = [];
    for (const part of PARTS) {
      parts[part].style.flexGrow = phase[part];
      parts[part].hidden = phase[part] === 0;
      if (phase[part] > 0) said.push(`${count(phase[part])} ${STATES[part].word}`);
    }
    bar.setAttribute("aria-label", said.join(", ") || "nothing to do");
    const share = phase.bytes_total > 0 ? `, ${bytes(phase.bytes_done)} of ${bytes(phase.bytes_total)}` : "";
    const failed = phase.failed > 0 ? ` · ✕ ${count(phase.failed)} failed` : "";
    if (this.job.status.detail === "requested") {
      say(text, "requested");
      return;
    }
    say(text, `${count(done)} of ${count(phase.total)} · ${phase.percent.toFixed(phase.percent < 100 ? 1 : 0)} %${share}${failed}`);
  }

  // Tells those who do not see the page how far it is, now and then, and when it ends.
  news(status) {
    const ended = status.state !== "running";
    if (!ended && Date.now() - (this.told ?? 0) < NEWS_EVERY) return;
    this.told = Date.now();
    const delivery = Object.values(status.phases).find((phase) => phase.delivers) ?? { succeeded: 0, skipped: 0, total: 0 };
    const failed = Object.values(status.phases).reduce((sum, phase) => sum + phase.failed, 0);
    say(document.getElementById("news"), `${ended ? `The job ${status.state === "cancelled" ? "is " : "has "}${STATES[status.state].word}. ` : ""}${delivery.succeeded + delivery.skipped} of ` +
      `${delivery.total} images created, ${failed} failed.`);
  }

  drawShown() {
    const { matched, all } = this.matrix;
    const filtered = this.filter.text || this.filter.state;
    say(this.shown, filtered ? `${count(matched)} of ${count(all)} targets` : `${count(all)} targets`);
  }

  filterChanged() {
    this.filter = { text: this.text.value.trim(), state: this.select.value };
    const query = new URLSearchParams();
    if (this.filter.text) query.set("q", this.filter.text);
    if (this.filter.state) query.set("state", this.filter.state);
    const search = query.toString();
    // Kept in the address, so that a link shows the same; not in the history, where each letter would be a step.
    history.replaceState(null, "", `#/jobs/${encodeURIComponent(this.id)}${search ? `?${search}` : ""}`);
    this.refilter();
  }

  filterFromAddress(filter) {
    this.filter = filter;
    this.text.value = filter.text;
    this.select.value = filter.state;
    this.refilter();
  }

  refilter() {
    this.matrix.filter();
    this.failures.draw(true);
    this.drawShown();
  }

  focusFilter() { this.text.focus(); }
  focusMatrix() { this.matrix.focus(); }
  nextFailure() { this.matrix.nextFailure(); }

  escape() {
    if (document.querySelector("dialog[open]")) return;
    if (this.matrix.closeDetails()) return;
    this.filterFromAddress({ text: "", state: "" });
    this.filterChanged();
  }

  close() {
    this.closed = true;
    this.source?.close();
    clearTimeout(this.timer);
    if (this.frame) cancelAnimationFrame(this.frame);
  }
}
