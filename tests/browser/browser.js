// A headless Chromium: Playwright's own where it is installed, else the system's.

import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright";

const SYSTEM = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
// How long anything may take before it must be wrong; a machine that tests is small and busy.
export const LONG = 60_000;

const pictures = process.env.GOLDFLEET_PICTURES
  ?? join(dirname(fileURLToPath(import.meta.url)), "../../target/browser");

export function openBrowser() {
  const own = chromium.executablePath();
  const executablePath = [process.env.CHROMIUM, own, ...SYSTEM].find((path) => path && existsSync(path));
  if (!executablePath) throw new Error("no Chromium: apt-get install chromium, or npx playwright install chromium");
  // Without a sandbox, since root in a container has none; the pages are our own.
  return chromium.launch({ executablePath, args: ["--no-sandbox"], timeout: LONG });
}

// A page of which every error and every request to elsewhere is kept.
export async function openPage(browser, address, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(LONG);
  page.wrong = [];
  page.on("console", (message) => message.type() === "error" && page.wrong.push(message.text()));
  page.on("pageerror", (error) => page.wrong.push(String(error)));
  page.on("request", (request) => new URL(request.url()).origin === new URL(address).origin || page.wrong.push(`asked for ${request.url()}`));
  await page.goto(address);
  return page;
}

export async function picture(page, name) {
  mkdirSync(pictures, { recursive: true });
  await page.screenshot({ path: join(pictures, `${name}.png`), fullPage: true });
}

// What axe finds wrong with a page, of which there must be nothing.
export async function accessible(page, what) {
  const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, {
    runOnly: ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"],
  }));
  const found = violations.map(({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map((node) => node.html + node.failureSummary).join("\n")}`);
  assert.deepEqual(found, [], what);
}
