// A job as the page knows it: the whole once, then what changes.

// The state of a target is the first of these that one of its operations has.
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
      if (!line.subscription) continue;
      const key = `${line.subscription}/${line.region}`;
      let cell = this.cells.get(key);
      if (!cell) {
        cell = { key, subscription: line.subscription, name: line.name, region: line.region, lines: new Map(), parts: {} };
        this.cells.set(key, cell);
        grown = true;
      }
      cell.lines.set(line.id, line);
      cell.parts[line.kind] = merged([...cell.lines.values()].filter((other) => other.kind === line.kind));
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
    return [...this.operations.values()].filter((line) => line.state === "failed");
  }

  // The kinds of operations of a job, or of one of its targets, in order.
  kinds(parts = this.status?.phases ?? {}) {
    const order = (kind) => this.status?.phases[kind]?.order ?? 0;
    return Object.keys(parts).sort((a, b) => order(a) - order(b) || a.localeCompare(b));
  }

  stateOf(cell) {
    const states = Object.values(cell.parts).map((line) => line.state);
    return WORST.find((state) => states.includes(state)) ?? "waiting";
  }

  // Whether a target is one that the filter means.
  matches(cell, filter) {
    const words = filter.text.toLowerCase().split(/\s+/).filter(Boolean);
    const place = `${cell.key} ${cell.name ?? ""}`.toLowerCase();
    if (!words.every((word) => place.includes(word))) return false;
    if (!filter.state) return true;
    return Object.values(cell.parts).some((line) => line.state === filter.state);
  }
}

// The operations of one kind at a target as one: there may be one for each disk.
function merged(lines) {
  if (lines.length === 1) return lines[0];
  const rank = (line) => WORST.indexOf(line.state);
  const worst = lines.reduce((a, b) => (rank(b) < rank(a) ? b : a));
  const sum = (count) => lines.reduce((total, line) => total + count(line), 0);
  return { ...worst, total: sum((line) => line.total), done: sum((line) => line.done) };
}

// A display name, or else the shortest of the usual ways to write a subscription that distinguishes all of them.
function shortNames(subscriptions, names) {
  const ways = [(id) => `${id.slice(0, 8)}…`, (id) => `…${id.slice(-8)}`, (id) => id];
  const way = ways.find((way) => new Set(subscriptions.map(way)).size === subscriptions.length) ?? ways[2];
  return new Map(subscriptions.map((id) => [id, names.get(id) ?? way(id)]));
}
