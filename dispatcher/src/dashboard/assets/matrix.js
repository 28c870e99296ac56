// The matrix: a row for each subscription, a column for each region. Each cell has a part for each operation at the target, in order.

import { STATES, badge, bytes, clock, count, el, percent, say } from "./words.js";

const DENSE = 18;

export class Matrix {
  constructor(view) {
    this.view = view;
    this.cells = new Map();
    this.matched = 0;
    this.all = 0;
    this.table = el("table", { class: "matrix", role: "grid", "aria-label": "Targets: a row a subscription, a column a region" });
    this.hint = el("p", { class: "hint", "aria-hidden": "true" });
    this.details = el("aside", { class: "details", "aria-label": "Details of a target", hidden: true, tabindex: "-1" });
    this.none = el("p", { class: "note", hidden: true });
    this.element = el("section", { class: "targets" }, el("h2", {}, "Targets"), legend(),
      el("div", { class: "scroll", role: "region", "aria-label": "Matrix of targets", tabindex: "-1" }, this.table),
      this.none, this.hint, this.details);
    this.table.addEventListener("keydown", (event) => this.key(event));
    this.table.addEventListener("click", (event) => this.chosen(event.target.closest("td")));
    this.table.addEventListener("mouseover", (event) => this.pointed(event.target.closest("td")));
    this.table.addEventListener("focusin", (event) => this.pointed(event.target.closest("td")));
  }

  get job() { return this.view.job; }

  // Makes the table anew: only when targets have come, which is once a job.
  build() {
    const { job } = this;
    const focused = document.activeElement?.dataset?.key;
    this.cells.clear();
    this.heads = new Map(job.regions.map((region) => [region, el("th", { scope: "col" }, el("span", {}, region))]));
    this.rows = new Map();
    const body = el("tbody");
    for (const subscription of job.subscriptions) {
      const head = el("th", { scope: "row", title: subscription }, job.short.get(subscription));
      const row = el("tr", {}, head, ...job.regions.map((region) => this.cell(`${subscription}/${region}`)));
      this.rows.set(subscription, row);
      body.append(row);
    }
    this.table.classList.toggle("dense", job.regions.length > DENSE);
    const corner = el("td", { class: "corner" }, "subscription");
    this.table.replaceChildren(el("thead", {}, el("tr", {}, corner, ...this.heads.values())), body);
    this.update(job.cells.keys());
    const first = this.cells.values().next().value;
    if (first) first.td.tabIndex = 0;
    if (focused) this.cells.get(focused)?.td.focus();
  }

  cell(key) {
    if (!this.job.cells.has(key)) return el("td", { class: "absent", "aria-label": "no target" });
    const box = el("div");
    const td = el("td", { role: "gridcell", tabindex: "-1", "data-key": key }, box);
    this.cells.set(key, { td, box, halves: new Map() });
    return td;
  }

  update(keys) {
    for (const key of keys) {
      const drawn = this.cells.get(key);
      const cell = this.job.cells.get(key);
      if (!drawn || !cell) continue;
      const kinds = this.job.kinds(cell.parts);
      if (kinds.length !== drawn.halves.size) {
        drawn.halves = new Map(kinds.map((kind) => [kind, el("span")]));
        drawn.box.replaceChildren(...drawn.halves.values());
      }
      for (const kind of kinds) drawHalf(drawn.halves.get(kind), cell.parts[kind]);
      drawn.td.setAttribute("aria-label", this.saying(cell));
      if (this.open === key) this.drawDetails(cell);
      if (this.pointedAt === key) say(this.hint, this.saying(cell));
    }
    if (this.view.filter.state || this.all !== this.cells.size) this.filter();
  }

  saying(cell) {
    const part = (kind) => {
      const line = cell.parts[kind];
      const share = line.state === "running" && line.total > 0 ? ` ${percent(line.done, line.total)} %` : "";
      const why = line.state === "failed" && line.failure ? ` (${line.failure.code})` : "";
      return `${kind} ${STATES[line.state].word}${share}${why}`;
    };
    return `${this.job.short.get(cell.subscription)} ${cell.region}: ${this.job.kinds(cell.parts).map(part).join(", ")}`;
  }

  // Hides rows and columns of which nothing is meant, and dims the rest of what is not meant.
  filter() {
    if (!this.rows) return;
    const { job, view } = this;
    const rows = new Set();
    const columns = new Set();
    this.all = this.cells.size;
    this.matched = 0;
    const meant = new Map();
    for (const [key, cell] of job.cells) {
      const matches = job.matches(cell, view.filter);
      meant.set(key, matches);
      if (!matches) continue;
      this.matched += 1;
      rows.add(cell.subscription);
      columns.add(cell.region);
    }
    for (const [subscription, row] of this.rows) row.hidden = !rows.has(subscription);
    for (const [region, head] of this.heads) head.hidden = !columns.has(region);
    job.regions.forEach((region, n) => {
      for (const row of this.rows.values()) row.children[n + 1].hidden = !columns.has(region);
    });
    for (const [key, { td }] of this.cells) td.classList.toggle("dim", !meant.get(key));
    this.none.hidden = this.matched > 0 || this.all === 0;
    say(this.none, "No target is like that. Esc clears the filter.");
  }

  focus() {
    const current = this.table.querySelector('td[tabindex="0"]');
    const visible = current && !current.hidden && !current.parentElement.hidden ? current : this.visible()[0];
    if (visible) this.moveTo(visible);
  }

  visible() {
    return [...this.cells.values()].map(({ td }) => td).filter((td) => !td.hidden && !td.parentElement.hidden);
  }

  moveTo(td) {
    for (const other of this.table.querySelectorAll('td[tabindex="0"]')) other.tabIndex = -1;
    td.tabIndex = 0;
    td.focus();
    td.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  key(event) {
    const td = event.target.closest("td[data-key]");
    if (!td) return;
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      this.chosen(td, true);
      return;
    }
    const to = this.neighbour(td, event);
    if (to === undefined) return;
    event.preventDefault();
    if (to) this.moveTo(to);
  }

  // The cell that a key leads to; null where it leads nowhere, undefined where the key is none of ours.
  neighbour(td, event) {
    const along = { ArrowRight: "nextElementSibling", ArrowLeft: "previousElementSibling" }[event.key];
    const across = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
    const usable = (cell) => cell?.dataset?.key && !cell.hidden;
    if (along) {
      let cell = td[along];
      while (cell && !usable(cell)) cell = cell[along];
      return cell ?? null;
    }
    if (across) {
      const place = [...td.parentElement.children].indexOf(td);
      let row = td.parentElement[across];
      while (row && (row.hidden || !usable(row.children[place]))) row = row[across];
      return row?.children[place] ?? null;
    }
    const ends = { Home: (cells) => cells[0], End: (cells) => cells.at(-1) }[event.key];
    return ends && ends([...td.parentElement.children].filter(usable));
  }

  nextFailure() {
    const keys = [...this.cells.keys()].filter((key) => this.job.stateOf(this.job.cells.get(key)) === "failed");
    const shown = keys.filter((key) => !this.cells.get(key).td.hidden);
    if (shown.length === 0) return;
    const next = shown[(shown.indexOf(this.open ?? document.activeElement?.dataset?.key) + 1) % shown.length];
    this.moveTo(this.cells.get(next).td);
    this.chosen(this.cells.get(next).td);
  }

  pointed(td) {
    if (!td?.dataset.key) return;
    this.pointedAt = td.dataset.key;
    say(this.hint, this.saying(this.job.cells.get(td.dataset.key)));
  }

  chosen(td, byKey) {
    if (!td?.dataset.key) return;
    this.show(td.dataset.key);
    this.moveTo(td);
    if (byKey) this.details.focus();
  }

  // Opens the details of a target.
  show(key) {
    this.table.querySelector("td.open")?.classList.remove("open");
    this.open = key;
    this.cells.get(key)?.td.classList.add("open");
    this.drawDetails(this.job.cells.get(key));
    this.details.hidden = false;
  }

  closeDetails() {
    if (!this.open) return false;
    const { td } = this.cells.get(this.open) ?? {};
    td?.classList.remove("open");
    this.open = null;
    this.details.hidden = true;
    td?.focus();
    return true;
  }

  drawDetails(cell) {
    const close = el("button", { type: "button", class: "quiet", "aria-label": "Close", onclick: () => this.closeDetails() }, "✕");
    const parts = this.job.kinds(cell.parts).map((kind) => detail(cell.parts[kind]));
    const again = ["failed", "cancelled"].includes(this.job.stateOf(cell)) && this.view.actions.mayAct
      ? el("button", { type: "button", onclick: () => this.view.actions.retry([cell.key]) }, "Retry this target")
      : null;
    const text = JSON.stringify([cell, Boolean(again)]);
    if (this.details.dataset.text === text) return;
    this.details.dataset.text = text;
    const focused = this.details.contains(document.activeElement);
    this.details.replaceChildren(el("div", { class: "row" }, el("h3", {}, cell.region), close),
      el("p", { class: "id" }, cell.subscription), ...parts, again ?? "");
    if (focused) this.details.focus();
  }
}

function drawHalf(half, line) {
  const state = line?.state ?? "absent";
  if (half.dataset.state !== state) {
    half.dataset.state = state;
    half.className = `s-${state}`;
  }
  half.style.setProperty("--share", state === "running" && line.total > 0 ? line.done / line.total : state === "running" ? 0.5 : 0);
}

function detail(line) {
  const facts = [];
  const fact = (name, value) => facts.push(el("dt", {}, name), el("dd", {}, value));
  if (line.makes) fact("makes", line.makes);
  if (line.total > 0) fact("data", `${bytes(line.done)} of ${bytes(line.total)}`);
  if (line.attempts > 0) fact("attempts", count(line.attempts));
  if (line.worker) fact("worker", line.worker);
  if (line.not_before && line.state === "ready") fact("next attempt", clock(line.not_before));
  if (line.failure) {
    fact("failure", el("code", {}, line.failure.code));
    fact("reason", line.failure.message);
    if (line.failure.request_id) fact("request", line.failure.request_id);
    fact("at", new Date(line.failure.at).toLocaleString());
  }
  return el("section", {}, el("h4", {}, `${line.kind} `, badge(line.state)), el("dl", {}, ...facts));
}

function legend() {
  const example = el("span", { class: "example", "aria-hidden": "true" }, el("span", { class: "s-succeeded" }), el("span", { class: "s-running" }));
  const items = Object.entries(STATES).map(([state, { word }]) =>
    el("li", {}, el("span", { class: `swatch s-${state}`, "aria-hidden": "true" }), ` ${word}`));
  return el("ul", { class: "legend", "aria-label": "Signs" }, el("li", {}, example, " the operations at a target, in order"), ...items);
}
