// A headless Chromium: Playwright's own where it is installed, else the system's.

import { existsSync, mkdirSync } from "node:fs";
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
