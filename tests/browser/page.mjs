// SPDX-License-Identifier: Apache-2.0
// usage: node page.mjs SERVER_URL TOKEN PACKAGES PICTURES MEND LOCKED_URL
//
// The page as people use it, against a server that test_page.py has set up: `em` and `seg`
// (a computed specimen and its small network: blocks take seconds), `cells` and `made`
// (a tiny network: at once, and one block fails until the file MEND is there); LOCKED_URL is
// one with `cells` that is read with the token only. Output TAP.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { axe, done, has, is, ok, startBrowser, waitFor } from "./browser.mjs";

const [url, token, packages, pictures, mend, lockedUrl] = process.argv.slice(2);
const WIDE = { width: 1440, height: 1000 };
const browser = await startBrowser(packages, url);
const api = async (path, method = "GET", body) =>
  (await fetch(`${url}/${path}`, {
    method,
    body: body && JSON.stringify(body),
    headers: { Authorization: `Bearer ${token}` },
  })).json();

const text = (page, selector) => page.locator(selector).innerText();
const shot = (page, name, fullPage = true) =>
  page.screenshot({ path: join(pictures, `page-${name}.png`), fullPage });

// Everything that the slice shows is loaded and painted.
async function settled(page) {
  await page.waitForFunction(() => window.floodgate?.slice.layer &&
    window.floodgate.slice.complete, null, { timeout: 60_000 });
  await page.evaluate(() => new Promise((done) =>
    requestAnimationFrame(() => requestAnimationFrame(done))));
}

const numbers = (page) => page.$$eval("#region .numbers input", (list) =>
  list.map((i) => Number(i.value)));

// Colours of the canvas, as many as there are, and the share of the most common one.
const colours = (page) => page.$eval("#slice", (canvas) => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const counts = new Map();
  for (let i = 0; i < data.length; i += 4) {
    const key = (data[i] << 16) | (data[i + 1] << 8) | data[i + 2];
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  return { colours: counts.size, most: Math.max(...counts.values()) / (data.length / 4) };
});

async function choose(page, name) {
  await page.locator("button.layer").filter({
    has: page.locator(".name", { hasText: new RegExp(`^${name}$`) }),
  }).click();
  await page.waitForFunction((n) => document.getElementById("stage-name").textContent === n,
    name);
}

// ------------------------------------------------------------------ reading

async function looking() {
  const { page, problems, close } = await browser.open({ viewport: WIDE });
  await page.goto(url);
  await page.waitForSelector("#connection[data-state=live]");
  is("layers are listed", await page.$$eval("button.layer .name", (list) =>
    list.map((n) => n.textContent).sort()), ["cells", "cells2", "em", "made", "made.agg", "made2", "made2.agg", "seg", "seg.agg"]);
  await choose(page, "em");
  await settled(page);
  has("a layer's facts", await text(page, "#stage-facts"), "256 × 256 × 256 voxels · 8 × 8 × 8 nm");
  has("its encoding", await text(page, "#stage-facts"), "uint8, raw");
  const image = await colours(page);
  ok("the slice is a picture", image.colours > 60 && image.most < 0.6, JSON.stringify(image));
  ok("an image is not made here", await page.locator("#region").isHidden());
  const before = await page.evaluate(() => ({ ...window.floodgate.slice.view }));
  await page.focus("#slice");
  for (const key of ["ArrowRight", "ArrowDown", "+", "PageDown", "Shift+PageDown"])
    await page.keyboard.press(key);
  const after = await page.evaluate(() => ({ ...window.floodgate.slice.view }));
  ok("the keyboard moves the slice", after.x > before.x && after.y > before.y);
  ok("zooms", after.scale < before.scale);
  is("and goes deeper", after.z, before.z + 11);
  is("the number follows", await page.inputValue("#depth-number"), String(before.z + 11));
  await page.fill("#depth-number", "20");
  is("and leads", await page.evaluate(() => window.floodgate.slice.view.z), 20);
  const box = await page.locator("#slice").boundingBox();
  await page.mouse.move(box.x + 200, box.y + 200);
  await page.mouse.down();
  await page.mouse.move(box.x + 260, box.y + 200, { steps: 3 });
  await page.mouse.up();
  ok("the mouse moves it", await page.evaluate((x) => window.floodgate.slice.view.x < x, after.x));
  await settled(page);
  const link = await page.getAttribute("#stage-link", "href");
  const state = JSON.parse(decodeURIComponent(link.split("#!")[1]));
  is("its link leads to our viewer", link.split("#!")[0], `${url}/viewer/`);
  is("in metres, digit for digit", state.dimensions.x, [8e-9, "m"]);
  has("as it is written", decodeURIComponent(link), '"x":[8e-9,"m"]');
  is("at the place that is seen", state.position[2], 20.5);
  is("with the layer", state.layers, [
    { type: "image", name: "em", source: `precomputed://${url}/em` }]);
  is("no one may write here", await text(page, "#access-state"), "Reading only");
  await choose(page, "made");
  await page.fill("[name=x0]", "8");
  await page.waitForFunction(() => document.querySelector("#access").open);
  has("and the page says why", await text(page, "[data-part=estimate]"), "needs the server's token");
  ok("no job can be started", await page.locator("[name=start]").isDisabled());
  is("nothing was complained of", problems, []);
  await close();
}

async function wrongToken() {
  const { page, problems, close } = await browser.open({ viewport: WIDE },
    (t) => /401 \(Unauthorized\)/.test(t));
  await page.goto(url);
  await page.waitForSelector("#connection[data-state=live]");
  await page.click("#access summary");
  await page.fill("#token", "wrong-wrong-wrong-wrong");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => /does not take/.test(document.getElementById("message").textContent));
  is("a wrong token opens nothing", await text(page, "#access-state"), "Reading only");
  ok("and is forgotten", await page.evaluate(() => sessionStorage.length === 0));
  is("and that is all", problems, []);
  await close();
}

// A server that nobody reads without a token: it goes into the address, where pictures,
// events and the viewer find it.
async function locked() {
  const other = await startBrowser(packages, lockedUrl);
  const { page, problems, close } = await other.open({ viewport: WIDE });
  await page.goto(lockedUrl);
  await page.waitForFunction(() =>
    document.getElementById("access-state").textContent === "Locked");
  has("a locked server says so", await text(page, "#message"), "with a token only");
  is("the field has the keyboard", await page.evaluate(() => document.activeElement.id), "token");
  is("accessible, locked", await axe(page, packages), []);
  await page.keyboard.type(token);
  await page.keyboard.press("Enter");
  await page.waitForSelector("#connection[data-state=live]");
  is("the token is in the address", page.url(), `${lockedUrl}/t/${token}/`);
  await choose(page, "cells");
  await settled(page);
  const now = await colours(page);
  ok("pictures come", now.colours > 5, JSON.stringify(now));
  const [tab] = await Promise.all([page.context().waitForEvent("page"), page.click("#stage-link")]);
  await tab.waitForFunction(() => window.viewer?.layerManager.managedLayers.length === 1 &&
    window.viewer.layerManager.managedLayers[0].isReady() && window.viewer.isReady());
  ok("and so does the viewer, below it", tab.url().startsWith(`${lockedUrl}/t/${token}/viewer/`),
    tab.url());
  is("nothing was complained of", problems, []);
  await close();
  await other.close();
}

// ------------------------------------------------------------------ making

// Draw a box on the slice, read the estimate, start, watch, and look at the result.
async function making() {
  const { page, problems, close } = await browser.open({ viewport: WIDE });
  await page.goto(`${url}/#token=${token}`);
  await page.waitForSelector("#connection[data-state=live]");
  is("the token is out of the address", page.url(), `${url}/`);
  await page.waitForFunction(() =>
    document.getElementById("access-state").textContent === "May start work");
  await choose(page, "seg");
  await settled(page);
  has("no block is there", await text(page, "#blocks-text"), "64 absent");
  await page.click("#draw");
  // Two blocks of the middle, drawn by hand.
  const from = await page.evaluate(() => window.floodgate.slice.toPixel([130, 130]));
  const to = await page.evaluate(() => window.floodgate.slice.toPixel([180, 150]));
  const box = await page.locator("#slice").boundingBox();
  await page.mouse.move(box.x + from[0], box.y + from[1]);
  await page.mouse.down();
  await page.mouse.move(box.x + to[0], box.y + to[1], { steps: 5 });
  await page.mouse.up();
  const drawn = await numbers(page);
  ok("the box is in the numbers", Math.abs(drawn[0] - 130) < 3 && Math.abs(drawn[1] - 180) < 3 &&
    Math.abs(drawn[2] - 130) < 3 && Math.abs(drawn[3] - 150) < 3, drawn);
  ok("with the depth of the slice", drawn[4] <= 128 && drawn[5] > 128, drawn);
  await page.fill("[name=z0]", "130");
  await page.fill("[name=z1]", "150");
  await page.waitForSelector("[name=start]:enabled");
  const estimate = await text(page, "[data-part=estimate]");
  has("an estimate: blocks", estimate, "2, 0 of them made already");
  ok("bytes and time", /To be stored\s*about .*B/.test(estimate) && /Time\s*about/.test(estimate),
    estimate);
  await page.evaluate(() => {
    window.said = [];
    new MutationObserver(() => window.said.push(document.getElementById("blocks-text").textContent))
      .observe(document.getElementById("blocks-text"), { childList: true, characterData: true, subtree: true });
  });
  await page.click("[name=start]");
  await page.waitForSelector(".job .chip[data-state=running]");
  await page.waitForFunction(() => /running/.test(document.getElementById("blocks-text").textContent));
  ok("a running block is on the map", true);
  await shot(page, "running");
  await page.waitForSelector(".job .chip[data-state=done]", { timeout: 90_000 });
  await page.waitForFunction(() => /2 present/.test(document.getElementById("blocks-text").textContent));
  const said = await page.evaluate(() => window.said.join("\n"));
  ok("the map followed by itself", /1 running|2 running/.test(said) && /2 present/.test(said), said);
  has("the job tells its end", await text(page, ".job"), "2 of 2 blocks");
  await page.click(".job >> text=Show box");
  await settled(page);
  await page.waitForTimeout(300);
  const seen = await page.evaluate(() => window.floodgate.slice.view);
  ok("its box is shown", Math.abs(seen.x - 155) < 3 && Math.abs(seen.z - 140) < 3, JSON.stringify(seen));
  const job = (await api("api/jobs"))[0];
  is("the server has the job", [job.layer, job.state, job.done], ["seg", "done", 2]);
  is("and the box that was drawn", job.box, [drawn[0], drawn[2], 130, drawn[1], drawn[3], 150]);
  await shot(page, "done");
  const href = await page.locator(".job a").getAttribute("href");
  const state = JSON.parse(decodeURIComponent(href.split("#!")[1]));
  is("the job's link shows image and labels", state.layers.map((l) => [l.type, l.name]),
    [["image", "em"], ["segmentation", "seg"], ["segmentation", "seg.agg"]]);
  ok("at its box", Math.abs(state.position[0] - (drawn[0] + drawn[1]) / 2) <= 1 &&
    state.position[2] === 140.5, JSON.stringify(state.position));
  await selecting(page);
  await stitched(page);
  await orders(page);
  is("accessible, light", await axe(page, packages), []);
  is("nothing was complained of", problems, []);
  await close();
}

// An object is pointed at, with the mouse and with the keyboard.
async function selecting(page) {
  await choose(page, "seg");
  await page.click("#move");
  await settled(page);
  const at = [140, 140, 140];
  const { value } = await api(`api/layers/seg/value?at=${at.join()}`);
  ok("there is an object", /^[1-9]/.test(value), value);
  await page.evaluate((p) => {
    window.floodgate.slice.lookAt([p[0] - 20, p[1] - 20, p[2], p[0] + 20, p[1] + 20, p[2] + 1]);
  }, at);
  const [px, py] = await page.evaluate((p) =>
    window.floodgate.slice.toPixel([p[0] + 0.5, p[1] + 0.5]), at);
  const box = await page.locator("#slice").boundingBox();
  await page.mouse.click(box.x + px, box.y + py);
  await page.waitForSelector("#picked-list button");
  is("it is selected", await text(page, "#picked-list"), `${value} ×`);
  const segments = async () => JSON.parse(decodeURIComponent(
    (await page.getAttribute("#stage-link", "href")).split("#!")[1]))
    .layers.find((l) => l.name === "seg").segments;
  is("and in the link", await segments(), [value]);
  await page.focus("#slice");
  await page.evaluate((p) => {
    window.floodgate.slice.lookAt([p[0] - 20, p[1] - 20, p[2], p[0] + 21, p[1] + 21, p[2] + 1]);
  }, at);
  await page.keyboard.press("Enter");
  await page.waitForSelector("#picked", { state: "hidden" });
  is("the keyboard takes it back", await segments(), undefined);
}

// The stitched view of a layer has its blocks and jobs, and labels of its own.
async function stitched(page) {
  await choose(page, "seg.agg");
  await settled(page);
  has("a stitched view shows the blocks that it is made of", await text(page, "#blocks-text"),
    "2 present");
  has("and where they come from", await text(page, "#stage-made"), "Made from em");
  const state = JSON.parse(decodeURIComponent(
    (await page.getAttribute("#stage-link", "href")).split("#!")[1]));
  is("its link shows it over the image", state.layers.map((l) => [l.name, l.visible ?? true]),
    [["em", true], ["seg", false], ["seg.agg", true]]);
  await choose(page, "seg");
}

// A job that takes long: the whole volume. With the keyboard alone.
async function orders(page) {
  await page.focus("[name=whole]");
  await page.keyboard.press("Enter");
  is("the whole volume by one key", await numbers(page), [0, 256, 0, 256, 0, 256]);
  await page.waitForSelector("[name=start]:enabled");
  has("its estimate", await text(page, "[data-part=estimate]"), "512");
  await page.focus("[name=start]");
  await page.keyboard.press("Enter");
  const job = page.locator(".job").first();
  const state = async (wanted) => {
    await page.waitForFunction((s) =>
      document.querySelector(".job .chip").dataset.state === s, wanted);
    return true;
  };
  await state("running");
  await job.getByRole("button", { name: /^Pause/ }).focus();
  await page.keyboard.press("Enter");
  ok("paused by the keyboard", await state("paused"));
  ok("the keyboard stays in the job", await job.evaluate((n) => n.contains(document.activeElement)));
  await job.getByRole("button", { name: /^Resume/ }).click();
  await state("running");
  await job.getByRole("button", { name: /^Cancel/ }).click();
  ok("cancelled", await state("cancelled"));
  is("so says the server", (await api("api/jobs"))[0].state, "cancelled");
  await page.waitForFunction(() => /cancelled/.test(document.getElementById("message").textContent));
  ok("and the page, aloud", true);
}

// ------------------------------------------------------------------ failures

async function failing() {
  const { page, problems, close } = await browser.open({ viewport: WIDE, colorScheme: "dark" });
  await page.goto(`${url}/#token=${token}`);
  await page.waitForSelector("#connection[data-state=live]");
  await choose(page, "made");
  await page.fill("#depth-number", "21");
  await page.click("[name=whole]");
  await page.waitForSelector("[name=start]:enabled");
  await page.click("[name=start]");
  await page.waitForSelector(".job .chip[data-state=failed]");
  await page.waitForFunction(() => /1 failed/.test(document.getElementById("blocks-text").textContent));
  ok("the failed block is on the map", true);
  await page.click("#stage-failures summary");
  has("with its reason", await text(page, "#stage-failures-list"), "Block 1, 1, 0:");
  await page.locator(".job details").first().click();
  await page.waitForFunction(() => /Block 1, 1, 0/.test(document.querySelector(".job details").textContent));
  ok("the job lists it", true);
  is("accessible, dark", await axe(page, packages), []);
  await shot(page, "failed");
  writeFileSync(mend, "mended\n"); // test_page.py then puts the chunk back
  await waitFor("the image to be mended", async () =>
    (await fetch(`${url}/cells/8_8_8/72-108_64-80_-16-48`)).status === 200);
  await page.locator(".job").first().getByRole("button", { name: /^Retry/ }).click();
  await page.waitForFunction(() => document.querySelector(".job .chip").dataset.state === "done");
  await page.waitForFunction(() => !/failed/.test(document.getElementById("blocks-text").textContent));
  ok("after a retry all is made", true);
  await settled(page);
  const now = await colours(page);
  ok("labels are drawn", now.colours > 60, JSON.stringify(now));
  await shot(page, "mended");
  is("nothing was complained of", problems, []);
  await close();
}

// ------------------------------------------------------------------ a phone

async function phone() {
  const { page, problems, context, close } = await browser.open({
    viewport: { width: 390, height: 844 },
    deviceScaleFactor: 2,
    isMobile: true,
    hasTouch: true,
  });
  await page.goto(`${url}/#token=${token}`);
  await page.waitForSelector("#connection[data-state=live]");
  await choose(page, "made");
  await settled(page);
  is("nothing is wider than the screen", await page.evaluate(() =>
    [document.scrollingElement.scrollWidth, innerWidth]), [390, 390]);
  const small = await page.$$eval("button, .button, input:not([type=checkbox]), summary", (list) =>
    list.filter((n) => n.checkVisibility() && n.getBoundingClientRect().height < 24)
      .map((n) => n.outerHTML.slice(0, 80)));
  is("everything can be touched", small, []);
  await page.locator("#draw").tap();
  await page.locator("#slice").scrollIntoViewIfNeeded();
  const box = await page.locator("#slice").boundingBox();
  const client = await context.newCDPSession(page);
  const touch = (type, x, y) => client.send("Input.dispatchTouchEvent", {
    type,
    touchPoints: type === "touchEnd" ? [] : [{ x: box.x + x, y: box.y + y }],
  });
  await touch("touchStart", 120, 120);
  await touch("touchMove", 180, 160);
  await touch("touchMove", 240, 200);
  await touch("touchEnd");
  await page.waitForSelector("[name=start]:enabled");
  const drawn = await numbers(page);
  const wanted = await page.evaluate(() => [[120, 120], [240, 200]].map((p) =>
    window.floodgate.slice.toVoxel(p)));
  ok("a finger draws a box", Math.abs(drawn[0] - wanted[0][0]) < 2 &&
    Math.abs(drawn[1] - wanted[1][0]) < 2, JSON.stringify([drawn, wanted]));
  is("accessible, small", await axe(page, packages), []);
  await shot(page, "phone");
  is("nothing was complained of", problems, []);
  await close();
}

try {
  await looking();
  await wrongToken();
  await locked();
  await making();
  await failing();
  await phone();
} catch (error) {
  console.log(`Bail out! ${error.stack.split("\n").slice(0, 6).join(" | ")}`);
  await browser.close();
  process.exit(1);
}
await browser.close();
done();
