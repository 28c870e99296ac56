// What failed and why, gathered by reason: a thousand targets that fail alike are one line to read.

import { count, el, say } from "./words.js";

const SHOWN = 100;

export class Failures {
  constructor(view) {
    this.view = view;
    this.title = el("h2", {}, "Failures");
    this.list = el("div", { class: "groups" });
    this.element = el("section", { class: "failures", hidden: true }, this.title, this.list);
  }

  draw() {
    const { job, filter } = this.view;
    const lines = job.failures().filter((line) => this.meant(line, filter));
    const text = JSON.stringify(lines.map((line) => [line.id, line.failure]));
    if (text === this.text) return;
    this.text = text;
    this.element.hidden = lines.length === 0;
    say(this.title, `${count(lines.length)} failed`);
    const open = new Set([...this.list.querySelectorAll("details[open]")].map((details) => details.dataset.group));
    this.list.replaceChildren(...groups(lines).map(([name, group]) => this.group(name, group, open)));
  }

  meant(line, filter) {
    const place = `${line.subscription ?? line.makes}/${line.region} ${line.name ?? ""}`.toLowerCase();
    const words = filter.text.toLowerCase().split(/\s+/).filter(Boolean);
    return words.every((word) => place.includes(word)) && (!filter.state || filter.state === "failed");
  }

  group(name, lines, open) {
    const [first] = lines;
    const items = lines.slice(0, SHOWN).map((line) => el("li", {}, this.where(line), el("p", {}, line.failure.message,
      line.failure.request_id ? el("small", {}, ` request ${line.failure.request_id}`) : null)));
    const more = lines.length > SHOWN ? el("p", { class: "note" }, `and ${count(lines.length - SHOWN)} more; the filter finds them`) : null;
    return el("details", { "data-group": name, open: open.has(name) || lines.length === 1 },
      el("summary", {}, el("span", { class: "sign", "aria-hidden": "true" }, "✕"),
        el("b", {}, `${count(lines.length)} × ${first.kind}`), " ", el("code", {}, first.failure.code), " ",
        el("span", { class: "reason" }, first.failure.message)),
      first.remedy ? el("p", { class: "note" }, `Remedy: ${first.remedy}`) : null, el("ul", {}, ...items), more);
  }

  where(line) {
    if (!line.subscription) return el("b", {}, `store ${line.makes} in ${line.region}`);
    const key = `${line.subscription}/${line.region}`;
    return el("button", { type: "button", class: "plain", onclick: () => this.view.matrix.show(key) },
      line.name ? `${line.name} (${key})` : key);
  }
}

// By kind and code, the largest group first.
function groups(lines) {
  const groups = new Map();
  for (const line of lines) {
    const name = `${line.kind} ${line.failure.code}`;
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name).push(line);
  }
  return [...groups].sort(([, a], [, b]) => b.length - a.length);
}
