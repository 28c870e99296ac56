// A job of 3,600 operations stays smooth: the events are made up, the page is the real one.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { LONG, openBrowser, openPage, picture } from "./browser.js";
import { Fleet, subscription } from "./fleet.js";

const SUBSCRIPTIONS = 60;
const REGIONS = Array.from({ length: 30 }, (_, n) => `region${String(n).padStart(2, "0")}`);
const CHANGES = 20;

let browser;
let fleet;
let address;

before(async () => {
  browser = await openBrowser();
  fleet = new Fleet(1, ["westeurope"]);
  address = await fleet.dashboard();
}, { timeout: 2 * LONG });

after(async () => {
  await browser?.close();
  fleet?.end();
});

function line(kind, n, region, state, done = 0) {
  return {
    id: `${kind}.${subscription(n)}.${region}`, kind, subscription: subscription(n), region, state,
    total: kind === "copy" ? 1e9 : 0, done, attempts: 1,
  };
}

function status(done) {
  const phase = (order, title, total, succeeded) => ({
    order, title, delivers: order === 2,
    total, succeeded, failed: 0, running: 0, waiting: total - succeeded, skipped: 0, cancelled: 0,
    percent: (succeeded / total) * 100, bytes_total: 0, bytes_done: 0, bytes_moved: 0,
  });
  const targets = SUBSCRIPTIONS * REGIONS.length;
  return {
    job: "20261121-000000-0000", image: "large", version: "1", state: "running", detail: "running", data_bytes: 1e9,
    upload: null, phases: {
      seed: phase(0, "Stores filled", 29, 29), copy: phase(1, "VHDs in place", targets, done), image: phase(2, "Images made", targets, done),
    },
    wan_bytes: {}, bytes_per_second: 1e8, seconds: 10, seconds_left: 100, created: new Date().toISOString(), finished: null,
  };
}

test("3,600 operations, a few hundred of which change each second", { timeout: 2 * LONG }, async () => {
  const page = await openPage(browser, address);
  // The made-up events come by a stand-in for the browser's EventSource, so that they come at once and can be timed.
  await page.addInitScript(() => {
    globalThis.EventSource = class extends EventTarget {
      constructor() {
        super();
        globalThis.feed = (name, data) => this.dispatchEvent(new MessageEvent(name, { data }));
      }
      close() {}
    };
    globalThis.long = [];
    new PerformanceObserver((list) => globalThis.long.push(...list.getEntries().map((entry) => Math.round(entry.duration))))
      .observe({ type: "longtask" });
  });
  await page.goto(`${address}?#/jobs/20261121-000000-0000`);
  await page.waitForFunction(() => globalThis.feed !== undefined);
  const operations = [];
  for (let n = 1; n <= SUBSCRIPTIONS; n += 1) {
    for (const region of REGIONS) operations.push(line("copy", n, region, "ready"), line("image", n, region, "waiting"));
  }
  assert.equal(operations.length, 3600);
  const timed = (name, data) => page.evaluate(([name, data]) => new Promise((resolve) => {
    const began = performance.now();
    globalThis.feed(name, data);
    requestAnimationFrame(() => requestAnimationFrame(() => resolve(performance.now() - began)));
  }), [name, JSON.stringify(data)]);

  const whole = await timed("whole", { status: status(0), operations, tree: [], throughput: null });
  assert.equal(await page.locator(".matrix td[data-key]").count(), 1800);
  // How much is drawn is counted: how long that takes depends on the machine, and is only told.
  await page.evaluate(() => {
    const drawn = { cells: new Set(), made: 0 };
    globalThis.drawn = drawn;
    new MutationObserver((records) => {
      for (const { type, target } of records) {
        if (type === "childList") drawn.made += 1;
        else drawn.cells.add(target.closest("td"));
      }
    }).observe(document.querySelector(".matrix"), { attributes: true, childList: true, subtree: true });
  });
  const times = [];
  for (let round = 0; round < CHANGES; round += 1) {
    const changed = REGIONS.flatMap((region) => [
      line("copy", round + 1, region, "succeeded", 1e9), line("image", round + 1, region, "running"),
      ...Array.from({ length: 8 }, (_, n) => line("copy", round + 2 + n, region, "running", 1e8 * (round + 1) % 1e9)),
    ]);
    times.push(await timed("change", { status: status(round * 30), operations: changed }));
    const targets = new Set(changed.map(({ subscription, region }) => `${subscription}/${region}`)).size;
    const { cells, made } = await page.evaluate(() => {
      const seen = { cells: globalThis.drawn.cells.size, made: globalThis.drawn.made };
      globalThis.drawn.cells.clear();
      return seen;
    });
    assert.ok(cells > 0 && cells <= targets, `${cells} cells were drawn for ${targets} targets that changed`);
    assert.equal(made, 0, "no cell is made anew");
  }
  await picture(page, "large-1280-light");
  const filtered = await page.evaluate(() => {
    const began = performance.now();
    const input = document.getElementById("filter");
    input.value = "region1";
    input.dispatchEvent(new Event("input"));
    document.body.getBoundingClientRect();
    return performance.now() - began;
  });
  const slowest = Math.max(...times);
  console.log(`whole ${whole.toFixed(0)} ms; ${CHANGES} changes of 300 operations: at most ${slowest.toFixed(0)} ms, `
    + `filter ${filtered.toFixed(0)} ms; long tasks ${JSON.stringify(await page.evaluate(() => globalThis.long))}`);
  assert.deepEqual(page.wrong, []);
});
