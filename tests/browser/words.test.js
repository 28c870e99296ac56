// Words and numbers, without a browser: the page writes them as the command line does (shared/model/src/text.rs).
import assert from "node:assert/strict";
import { test } from "node:test";

import { bytes, duration, rate, system } from "../../dispatcher/src/dashboard/assets/words.js";

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

test("a system is one line, as on the command line", () => {
  const debian = {
    family: "linux", id: "debian", name: "Debian GNU/Linux 12 (bookworm)", version: "12",
    kernels: ["6.1.0-13-cloud-amd64", "6.1.0-12-cloud-amd64"], agents: ["cloud-init 22.4.2", "waagent 2.9.1.1"],
    generations: ["v1", "v2"], architecture: "x64",
  };
  const line = "Debian GNU/Linux 12 (bookworm), kernel 6.1.0-13-cloud-amd64, cloud-init 22.4.2, waagent 2.9.1.1, x64, generation v1 and v2";
  assert.equal(system(debian), line);
  const windows = { family: "windows", id: "windows", name: "Windows Server 2022", version: "20348.2", kernels: [], agents: [], generations: [] };
  assert.equal(system(windows), "Windows Server 2022, version 20348.2");
});
