// The list of jobs.

import { ago, badge, count, duration, el, jobState, say } from "./words.js";

const EVERY = 3000;

export class JobsView {
  constructor(parent, { linked }) {
    this.linked = linked;
    this.rows = new Map();
    this.body = el("tbody");
    const heads = ["image", "state", "images", "failed", "requested", "took"];
    this.table = el("table", { class: "jobs", hidden: true },
      el("thead", {}, el("tr", {}, ...heads.map((head) => el("th", { scope: "col" }, head)))), this.body);
    this.empty = el("p", { class: "note", hidden: true }, "There are no jobs yet: ",
      el("code", {}, "goldfleet upload"), " or ", el("code", {}, "goldfleet dispatch"), " creates one.");
    parent.append(el("h1", {}, "Jobs"), this.table, this.empty);
    this.look();
  }

  async look() {
    try {
      const answer = await fetch("api/jobs");
      if (!answer.ok) throw new Error((await answer.json()).error ?? answer.statusText);
      const { jobs } = await answer.json();
      if (this.closed) return;
      this.draw(jobs);
      this.linked("live", "live");
    } catch (error) {
      this.linked("trouble", `no answer: ${error.message}`);
    }
    if (!this.closed) this.timer = setTimeout(() => this.look(), EVERY);
  }

  draw(jobs) {
    this.table.hidden = jobs.length === 0;
    this.empty.hidden = jobs.length > 0;
    const lines = jobs.map((job) => {
      const known = this.rows.get(job.job);
      const text = JSON.stringify(job);
      const row = known?.text === text ? known.row : this.row(job);
      if (known && known.row !== row && known.row.contains(document.activeElement)) {
        queueMicrotask(() => row.querySelector("a").focus());
      }
      this.rows.set(job.job, { text, row });
      say(row.querySelector(".when"), ago(job.created));
      return row;
    });
    const same = lines.length === this.body.children.length && lines.every((row, n) => this.body.children[n] === row);
    if (!same) this.body.replaceChildren(...lines);
  }

  row(job) {
    const end = job.finished ? new Date(job.finished) : new Date();
    const took = job.finished ? duration((end - new Date(job.created)) / 1000) : "";
    const waits = Number.isInteger(job.waits) ? [el("small", { class: "waits" }, `ring ${job.waits} waits for approval`)] : [];
    const bar = el("progress", { max: "100", value: job.percent.toFixed(1), "aria-label": "percent of the job" });
    return el("tr", {},
      el("th", { scope: "row" },
        el("a", { href: `#/jobs/${encodeURIComponent(job.job)}` }, job.title),
        el("small", {}, job.job)),
      el("td", { "data-head": "state" }, badge(jobState(job)), ...waits),
      el("td", { "data-head": "images" }, bar, el("span", {}, ` ${count(job.images)}/${count(job.targets)}`)),
      el("td", { "data-head": "failed", class: job.failed > 0 ? "bad" : "none" },
        job.failed > 0 ? `✕ ${count(job.failed)}` : "none"),
      el("td", { "data-head": "requested", class: "when", title: new Date(job.created).toLocaleString() }),
      el("td", { "data-head": "took" }, took));
  }

  close() {
    this.closed = true;
    clearTimeout(this.timer);
  }
}
