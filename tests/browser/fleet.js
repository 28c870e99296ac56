// A fleet in a folder of its own: real processes of the programs that are built, on a cloud of directories.

import { spawn, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "../..");
const programs = process.env.GOLDFLEET_PROGRAMS ?? join(root, "target/debug");
const goldfleet = join(programs, "goldfleet");

export const TOKEN = "browser-test-token-0123456789";

export function subscription(n) {
  return `00000000-0000-0000-0000-${String(n).padStart(12, "0")}`;
}

export class Fleet {
  // `ring` tells the ring of the targets in the nth subscription.
  constructor(subscriptions, regions, ring = () => 0) {
    this.folder = mkdtempSync(join(tmpdir(), "goldfleet-browser-"));
    this.running = [];
    this.path = (name) => join(this.folder, name);
    writeFileSync(this.path("goldfleet.toml"), `
      [source]
      subscription = "${subscription(0)}"
      region = "${regions[0]}"
      account = "goldsource"
      container = "golden"
      [worker]
      lease = "60s"
      concurrency = 4
      [dispatch]
      sweep = "200ms"`);
    const targets = [];
    for (let n = 1; n <= subscriptions; n += 1) {
      for (const region of regions) {
        targets.push(`[[target]]\nsubscription = "${subscription(n)}"\nregion = "${region}"\nresource_group = "images"\n`
          + `ring = ${ring(n)}\n`
          + `account = "stage${n}${region}"\ncontainer = "vhds"\n`);
      }
    }
    writeFileSync(this.path("targets.toml"), targets.join("\n"));
    writeFileSync(this.path("token"), `${TOKEN}\n`, { mode: 0o600 });
  }

  run(...words) {
    const ended = spawnSync(goldfleet, words, { cwd: this.folder, encoding: "utf8", env: this.environment() });
    if (ended.status !== 0) throw new Error(`goldfleet ${words.join(" ")}: ${ended.stderr}${ended.error ?? ""}`);
    return ended.stdout.trim();
  }

  environment() {
    const { GOLDFLEET_CONFIG, ...rest } = process.env;
    return { ...rest, GOLDFLEET_LOG: "error" };
  }

  start(...words) {
    const child = spawn(goldfleet, words, { cwd: this.folder, stdio: ["ignore", "ignore", "pipe"], env: this.environment() });
    this.running.push(child);
    return child;
  }

  // A golden VHD: what the demonstration makes for itself.
  golden(kib) {
    this.run("demo", "--subscriptions", "1", "--regions", "1", "--images", "1", "--workers", "1", "--data", String(kib),
      "--folder", "demo");
    return this.path("demo/ubuntu-0.vhd");
  }

  // Where a target's account is to be lies a file: every copy there fails, until it is taken away.
  block(account) {
    mkdirSync(this.path("cloud"), { recursive: true });
    writeFileSync(this.path(`cloud/${account}`), "in the way");
  }

  unblock(account) {
    rmSync(this.path(`cloud/${account}`));
  }

  // Starts the dashboard. Returns its address.
  dashboard(...words) {
    const child = this.start("dashboard", "--listen", "127.0.0.1:0", ...words);
    return new Promise((resolve, reject) => {
      let said = "";
      child.stderr.on("data", (data) => {
        said += data;
        const address = said.match(/http:\/\/\S+\//)?.[0];
        if (address) resolve(address);
      });
      child.once("exit", (code) => reject(new Error(`the dashboard ended with ${code}: ${said}`)));
    });
  }

  end() {
    for (const child of this.running) child.kill("SIGKILL");
    rmSync(this.folder, { recursive: true, force: true });
  }
}
