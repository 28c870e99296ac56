// A job as the page knows it: the whole once, then what changes.

// What of a target is worth telling first: the worst of its two operations.
const WORST = ["failed", "cancelling", "cancelled", "running", "ready", "waiting", "skipped", "succeeded"];

export class Job {
  constructor(id) {
    this.id = id;
    this.clear();
  }

  clear() {
    this.status = null;
    this.operations = new Map();
    this.cells = new Map();
    this.subscriptions = [];
    this.regions = [];
    this.tree = [];
    this.throughput = null;
  }

  // Takes in the whole or a change. Returns the keys of the targets that changed, and whether there are new ones.
  apply(change) {
    const touched = new Set();
    let grown = false;
    for (const line of change.operations ?? []) {
      this.operations.set(line.id, line);
      if (line.kind === "seed") continue;
      const key = `${line.subscription}/${line.region}`;
      let cell = this.cells.get(key);
      if (!cell) {
        cell = { key, subscription: line.subscription, name: line.name, region: line.region, copy: null, image: null };
        this.cells.set(key, cell);
        grown = true;
      }
      cell[line.kind] = line;
      touched.add(key);
    }
    if (grown) this.arrange();
    for (const part of ["status", "tree", "throughput"]) {
      if (change[part] !== undefined) this[part] = change[part];
    }
    return { touched, grown };
  }

  arrange() {
    const cells = [...this.cells.values()];
    this.subscriptions = [...new Set(cells.map((cell) => cell.subscription))].sort();
    this.regions = [...new Set(cells.map((cell) => cell.region))].sort();
    const names = new Map(cells.filter((cell) => cell.name).map((cell) => [cell.subscription, cell.name]));
    this.short = shortNames(this.subscriptions, names);
  }

  failures() {
    return [...this.operations.values()].filter((line) => line.state === "failed" && line.failure?.code !== "copy-failed");
  }

  stateOf(cell) {
    const states = [cell.copy?.state, cell.image?.state];
    return WORST.find((state) => states.includes(state)) ?? "waiting";
  }

  // Whether a target is one that the filter means.
  matches(cell, filter) {
    const words = filter.text.toLowerCase().split(/\s+/).filter(Boolean);
    const place = `${cell.key} ${cell.name ?? ""}`.toLowerCase();
    if (!words.every((word) => place.includes(word))) return false;
    if (!filter.state) return true;
    return cell.copy?.state === filter.state || cell.image?.state === filter.state;
  }
}

// A display name, or else the shortest of the usual ways to write a subscription that distinguishes all of them.
function shortNames(subscriptions, names) {
  const ways = [(id) => `${id.slice(0, 8)}…`, (id) => `…${id.slice(-8)}`, (id) => id];
  const way = ways.find((way) => new Set(subscriptions.map(way)).size === subscriptions.length) ?? ways[2];
  return new Map(subscriptions.map((id) => [id, names.get(id) ?? way(id)]));
}
