// The dashboard as people meet it: a job runs while the page is open.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { LONG, accessible, openBrowser, openPage, picture } from "./browser.js";
import { Fleet, TOKEN, subscription } from "./fleet.js";

const REGIONS = ["westeurope", "eastus", "japaneast", "brazilsouth", "northeurope", "westus3", "southeastasia", "uksouth"];
const SUBSCRIPTIONS = 12;

let browser;
let fleet;
let address;
let job;

before(async () => {
  browser = await openBrowser();
  fleet = new Fleet(SUBSCRIPTIONS, REGIONS);
  const golden = fleet.golden(16 * 1024);
  for (const n of [3, 7]) fleet.block(`stage${n}japaneast`);
  job = fleet.run("upload", golden, "--image", "ubuntu-24.04", "--version", "2026.11.1", "--os", "linux");
  address = await fleet.dashboard("--token-file", "token");
}, { timeout: 2 * LONG });

after(async () => {
  await browser?.close();
  fleet?.end();
});

const cells = (page, state) => page.locator(`.matrix td span.s-${state}`).count();
const all = SUBSCRIPTIONS * REGIONS.length;

test("a job runs while the page is open", { timeout: 2 * LONG }, async () => {
  const page = await openPage(browser, address);
  await page.getByRole("link", { name: "ubuntu-24.04 2026.11.1" }).click();
  await page.getByRole("heading", { name: "ubuntu-24.04 2026.11.1" }).waitFor();
  assert.equal(await page.locator(".matrix td[data-key]").count(), 0, "it is not planned yet");

  fleet.start("dispatcher");
  await page.waitForFunction((n) => document.querySelectorAll(".matrix td[data-key]").length === n, all);
  assert.equal(await cells(page, "succeeded"), 0);

  const worker = fleet.start("worker", "--concurrency", "4");
  const first = await page.waitForFunction(() => {
    const [done, running] = ["succeeded", "running"].map((state) => document.querySelectorAll(`.matrix td span.s-${state}`).length);
    return running > 0 && done >= 4 && done;
  }).then((count) => count.jsonValue());
  // Held meanwhile, so that the job is not over before a busy machine has drawn the middle of it.
  worker.kill("SIGSTOP");
  await picture(page, "running-1280-light");
  const phone = await openPage(browser, `${address}#/jobs/${job}`, { viewport: { width: 390, height: 844 }, colorScheme: "dark" });
  await phone.locator(".matrix td span.s-running").first().waitFor();
  await picture(phone, "running-390-dark");
  assert.deepEqual(phone.wrong, []);
  await phone.context().close();
  worker.kill("SIGCONT");
  await page.waitForFunction((first) => document.querySelectorAll(".matrix td span.s-succeeded").length > first, first);
  await page.locator(".title .badge.s-failed").waitFor();
  await page.waitForFunction((n) => document.querySelectorAll(".matrix td span.s-succeeded").length === n, 2 * (all - 2));
  assert.equal(await cells(page, "failed"), 2);
  assert.equal(await cells(page, "cancelled"), 2, "images whose copy failed do not begin");
  await page.locator(".phases section").nth(2).getByText("94 of 96").waitFor();
  assert.deepEqual(page.wrong, []);
  await page.context().close();
});

test("the reason of a failure can be read", { timeout: 2 * LONG }, async () => {
  const page = await openPage(browser, `${address}#/jobs/${job}`);
  const group = page.locator(".failures details");
  await group.waitFor();
  assert.match(await group.locator("summary").innerText(), /2 × copy\s+account-unusable/);
  await group.locator("summary").click();
  await page.getByRole("button", { name: `${subscription(3)}/japaneast` }).click();
  const details = page.locator(".details");
  assert.match(await details.innerText(), /account-unusable/);
  assert.match(await details.innerText(), /stage3japaneast/);
  await picture(page, "failed-1280-light");
  await accessible(page, "with details");
  await page.keyboard.press("Escape");
  assert.equal(await details.isVisible(), false);
  const dark = await openPage(browser, `${address}#/jobs/${job}`, { colorScheme: "dark" });
  await dark.locator(".matrix td[data-key]").first().waitFor();
  await picture(dark, "failed-1280-dark");
  await accessible(dark, "dark");
  const phone = await openPage(browser, `${address}#/jobs/${job}`, { viewport: { width: 390, height: 844 } });
  await phone.locator(".failures summary").click();
  await phone.locator(".failures button").first().click();
  await picture(phone, "failed-390-light");
  const wider = await phone.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  assert.equal(wider, 0, "nothing but the matrix scrolls sideways");
  await phone.goto(`${address}#/jobs`);
  await phone.getByRole("link", { name: "ubuntu-24.04" }).waitFor();
  await picture(phone, "jobs-390-light");
  await accessible(phone, "jobs");
  for (const { wrong } of [page, dark, phone]) assert.deepEqual(wrong, []);
  await page.goto(`${address}#/jobs`);
  await page.getByRole("link", { name: "ubuntu-24.04" }).waitFor();
  await picture(page, "jobs-1280-light");
});

test("the filter is in the address, and the keys move about", async () => {
  const page = await openPage(browser, `${address}#/jobs/${job}`);
  await page.locator(".matrix td[data-key]").first().waitFor();
  await page.keyboard.press("/");
  await page.keyboard.type("us");
  assert.match(await page.locator(".shown").innerText(), /24 of 96 targets/);
  assert.match(page.url(), /\?q=us$/);
  await page.reload();
  await page.waitForFunction(() => document.querySelector(".shown").textContent === "24 of 96 targets");
  await page.keyboard.press("m");
  const focused = () => page.evaluate(() => document.activeElement.dataset.key);
  assert.equal(await focused(), `${subscription(1)}/eastus`);
  await page.keyboard.press("ArrowRight");
  assert.equal(await focused(), `${subscription(1)}/westus3`, "hidden columns are passed over");
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("End");
  assert.equal(await focused(), `${subscription(2)}/westus3`);
  await page.keyboard.press("Enter");
  assert.match(await page.locator(".details").innerText(), /westus3/);
  await page.keyboard.press("Escape");
  await page.keyboard.press("Escape");
  assert.match(await page.locator(".shown").innerText(), /^96 targets/);
  await page.keyboard.press("f");
  assert.match(await page.locator(".details").innerText(), /japaneast/);
  await page.selectOption("#filter-state", "failed");
  assert.match(await page.locator(".shown").innerText(), /2 of 96 targets/);
  assert.deepEqual(page.wrong, []);
});

test("who has the token can try again", { timeout: 2 * LONG }, async () => {
  const page = await openPage(browser, `${address}#/jobs/${job}`);
  for (const n of [3, 7]) fleet.unblock(`stage${n}japaneast`);
  await page.getByRole("button", { name: "Retry failed" }).click();
  await page.getByLabel("Token").fill("not the token at all");
  const told = page.waitForEvent("console");
  await page.getByRole("button", { name: "Retry", exact: true }).click();
  await page.getByText("the token is missing or wrong").waitFor();
  await picture(page, "token-1280-light");
  await told;
  assert.equal(page.wrong.length, 1, "the browser tells of the 401");
  await page.getByLabel("Token").fill(TOKEN);
  await page.getByRole("button", { name: "Retry", exact: true }).click();
  await page.getByText("retrying 4 operations").waitFor();
  await page.locator(".title .badge.s-succeeded").waitFor();
  assert.equal(await cells(page, "failed"), 0);
  assert.equal(await page.locator(".failures").isVisible(), false);
});
