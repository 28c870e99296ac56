// A rollout that waits for approval between its rings, as people meet it.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { LONG, accessible, openBrowser, openPage, picture } from "./browser.js";
import { Fleet, TOKEN } from "./fleet.js";

const REGIONS = ["westeurope", "eastus", "japaneast", "brazilsouth"];
const SUBSCRIPTIONS = 3;

let browser;
let fleet;
let address;
let job;

before(async () => {
  browser = await openBrowser();
  // Each subscription is a ring of its own.
  fleet = new Fleet(SUBSCRIPTIONS, REGIONS, (n) => n - 1);
  job = fleet.run("upload", fleet.golden(4 * 1024), "--image", "ubuntu-24.04", "--version", "2026.11.1", "--os", "linux", "--approve");
  address = await fleet.dashboard("--token-file", "token");
  fleet.start("dispatcher");
  fleet.start("worker");
}, { timeout: 2 * LONG });

after(async () => {
  await browser?.close();
  fleet?.end();
});

const waits = (page, ring) => page.getByText(`Ring ${ring} waits for approval`);
const made = (page, rings) => page.waitForFunction((n) => document.querySelectorAll(".matrix td span.s-succeeded").length === n, 2 * rings * REGIONS.length);

test("who has no token sees what it waits for and cannot approve it", { timeout: 2 * LONG }, async () => {
  const shows = await fleet.dashboard();
  const page = await openPage(browser, `${shows}#/jobs/${job}`);
  await waits(page, 1).waitFor();
  await made(page, 1);
  assert.equal(await page.getByRole("button", { name: /Approve/ }).count(), 0, "there is no button");
  await page.getByText("read-only").waitFor();
  for (const at of [shows, address]) {
    const answer = await page.request.post(`${at}api/jobs/${job}/approve`, { data: { ring: 1 } });
    assert.ok([401, 403].includes(answer.status()), `${at}: ${answer.status()}`);
  }
  await page.goto(`${shows}#/jobs`);
  await page.getByText("ring 1 waits").waitFor();
  await picture(page, "approve-jobs-1280-light");
  await accessible(page, "jobs");
  assert.deepEqual(page.wrong, []);
  await page.context().close();
});

test("it can be read on every screen", { timeout: 2 * LONG }, async () => {
  for (const colorScheme of ["light", "dark"]) {
    for (const viewport of [{ width: 1280, height: 900 }, { width: 390, height: 844 }]) {
      const page = await openPage(browser, `${address}#/jobs/${job}`, { viewport, colorScheme });
      const what = `${viewport.width}-${colorScheme}`;
      await waits(page, 1).waitFor();
      await made(page, 1);
      await picture(page, `approve-${what}`);
      await accessible(page, what);
      const wider = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      assert.equal(wider, 0, `${what}: nothing but the matrix scrolls sideways`);
      await page.getByRole("button", { name: "Approve ring 1" }).click();
      await picture(page, `approve-ask-${what}`);
      await accessible(page, `${what}, asked`);
      await page.goto(`${address}#/jobs`);
      await page.getByText("ring 1 waits").waitFor();
      assert.equal(await page.getByRole("dialog").count(), 0, "nothing is asked about what is no longer shown");
      await picture(page, `approve-jobs-${what}`);
      await accessible(page, `${what}, jobs`);
      assert.deepEqual(page.wrong, []);
      await page.context().close();
    }
  }
});

test("a click lets the next ring begin, and so do keys", { timeout: 2 * LONG }, async () => {
  const page = await openPage(browser, `${address}#/jobs/${job}`);
  const button = page.getByRole("button", { name: /^Approve ring/ });
  await waits(page, 1).waitFor();
  await button.click();
  await page.getByLabel("Token").fill("not the token at all");
  const told = page.waitForEvent("console");
  await page.getByRole("button", { name: "Approve", exact: true }).click();
  await page.getByText("the token is missing or wrong").waitFor();
  await told;
  assert.equal(page.wrong.splice(0).length, 1, "the browser tells of the 401");
  await page.getByLabel("Token").fill(TOKEN);
  await page.getByRole("button", { name: "Approve", exact: true }).click();
  await page.getByText("ring 1 is approved").waitFor();
  await waits(page, 2).waitFor();
  await made(page, 2);

  // Nobody has to aim at anything, and the token is known.
  await button.focus();
  await page.keyboard.press("Enter");
  await page.getByRole("dialog").waitFor();
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "hidden" });
  assert.equal(await button.evaluate((element) => element === document.activeElement), true, "back where it was");
  await page.keyboard.press("Enter");
  assert.equal(await page.getByLabel("Token").isVisible(), false);
  await page.keyboard.press("Enter");
  await page.getByText("ring 2 is approved").waitFor();
  await page.locator(".title .badge.s-succeeded").waitFor();
  await made(page, 3);
  assert.equal(await button.isVisible(), false);
  assert.notEqual(await page.evaluate(() => document.activeElement.tagName), "BODY", "the keys are not lost with the button");
  const { given } = JSON.parse(fleet.run("status", job, "--output", "json")).approvals;
  assert.deepEqual(given.map(({ ring }) => ring), [1, 2]);
  assert.ok(given.every(({ by }) => /^dashboard .+@.+$/.test(by)), JSON.stringify(given));
  await picture(page, "approved-1280-light");
  assert.deepEqual(page.wrong, []);
});
