// Words and numbers, without a browser: the page writes them as the command line does (shared/model/src/text.rs).
import assert from "node:assert/strict";
import { test } from "node:test";

import { bytes, duration, rate } from "../../dispatcher/src/dashboard/assets/words.js";

test("bytes have two digits", () => {
  const counts = [0, 1023, 1024, 1536, 2 ** 20 - 1, (2 ** 20 * 9) / 8, 1_588_736, 30 * 2 ** 30];
  const shown = ["0 B", "1023 B", "1.00 KiB", "1.50 KiB", "1.00 MiB", "1.13 MiB", "1.52 MiB", "30.00 GiB"];
  assert.deepEqual(counts.map(bytes), shown);
  assert.equal(rate(1023.9), "1023 B/s");
});

test("a duration has two units", () => {
  const shown = ["under a second", "28 s", "5 min 02 s", "3 h 05 min", "2 d 04 h"];
  assert.deepEqual([0, 28, 302, 11_100, 187_200].map(duration), shown);
});
