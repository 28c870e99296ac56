// The distribution tree: which store fills which, and how far each is.

import { STATES, bytes, count, el, percent, say } from "./words.js";

export class Tree {
  constructor() {
    this.list = el("ul", { class: "tree" });
    this.element = el("section", { class: "panel" }, el("h2", {}, "Distribution"), this.list);
    this.nodes = [];
  }

  draw(tree) {
    const shape = tree.map((node) => `${node.store}<${node.parent}`).join();
    if (shape !== this.shape) this.build(tree, shape);
    tree.forEach((node, n) => this.update(this.nodes[n], node));
  }

  build(tree, shape) {
    this.shape = shape;
    this.list.replaceChildren();
    this.nodes = [];
    for (const node of tree) {
      const drawn = {
        sign: el("span", { class: "sign", "aria-hidden": "true" }),
        fill: el("span", { class: "fill" }),
        text: el("span", { class: "text" }),
        images: el("progress", { max: "1", value: "0", "aria-hidden": "true" }),
        tally: el("span", { class: "text" }),
        children: el("ul"),
      };
      const store = el("div", { class: "node" },
        el("div", { class: "name" }, drawn.sign, el("b", {}, node.region), " ", el("small", {}, node.store)),
        el("div", { class: "meter" }, drawn.fill), drawn.text, drawn.images, drawn.tally);
      drawn.store = store;
      (node.parent === null ? this.list : this.nodes[node.parent].children).append(el("li", {}, store, drawn.children));
      this.nodes.push(drawn);
    }
  }

  update(drawn, node) {
    const state = node.state ?? "succeeded";
    const source = node.state === null;
    const done = source || state === "succeeded" || state === "skipped" ? 100 : percent(node.done, node.total);
    drawn.store.dataset.state = state;
    drawn.fill.style.inlineSize = `${done}%`;
    say(drawn.sign, source ? "◆" : STATES[state].sign);
    say(drawn.text, source ? "source, filled by the upload"
      : state === "succeeded" ? `filled, ${bytes(node.total)}` : `${STATES[state].word}, ${done} % of ${bytes(node.total)}`);
    drawn.images.max = Math.max(node.targets, 1);
    drawn.images.value = node.images;
    drawn.images.hidden = node.targets === 0;
    const failed = node.failed > 0 ? `, ✕ ${count(node.failed)} failed` : "";
    say(drawn.tally, node.targets > 0 ? `${count(node.images)} of ${count(node.targets)} images${failed}` : "");
  }
}
