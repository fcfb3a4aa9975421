// SPDX-License-Identifier: Apache-2.0
// What the browser tests share: TAP, a headless Chromium, and pages that are watched: no
// message on the console, nothing lost, and nothing asked of another host.
//
//   const browser = await startBrowser(packages);
//   const watched = await browser.open({ viewport: … });   // watched.page is Playwright's
//   is("what", got, wanted);
//   await browser.close();
//   done();
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { resolve } from "node:path";

let count = 0;
let failed = 0;

export function ok(text, good, detail) {
  count++;
  if (!good) failed++;
  console.log(`${good ? "ok" : "not ok"} ${count} - ${text}`);
  if (!good && detail !== undefined) console.log(String(detail).replace(/^/gm, "# "));
  return Boolean(good);
}

export function is(text, got, wanted) {
  const [a, b] = [got, wanted].map((v) => JSON.stringify(v));
  return ok(text, a === b, `got ${a?.slice(0, 800)}, wanted ${b?.slice(0, 800)}`);
}

export function has(text, got, part) {
  return ok(text, String(got).includes(part), `${part} is not in ${String(got).slice(0, 800)}`);
}

export function done() {
  console.log(`1..${count}`);
  process.exit(failed ? 1 : 0);
}

// The first true value of probe(), asked again and again until the deadline.
export async function waitFor(what, probe, seconds = 60) {
  const end = Date.now() + 1000 * seconds;
  for (;;) {
    const got = await probe();
    if (got) return got;
    if (Date.now() > end) {
      console.log(`Bail out! waited ${seconds} s for: ${what}`);
      process.exit(1);
    }
    await new Promise((wake) => setTimeout(wake, 50));
  }
}

export function findChromium() {
  const names = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser"];
  return names.find((name) => name && existsSync(name));
}

export const ARGS = [
  "--no-sandbox", // the tests may run as root; only our own pages are opened
  "--use-gl=angle",
  "--use-angle=swiftshader",
  "--enable-unsafe-swiftshader",
];

// expected(text): messages that belong to what a test does.
function watch(page, hosts, expected) {
  const problems = [];
  page.on("console", (message) => {
    const text = `${message.text()} ${message.location().url ?? ""}`;
    if (["error", "warning"].includes(message.type()) && !expected(text))
      problems.push(`console: ${text}`);
  });
  page.on("pageerror", (error) => problems.push(`page: ${error.message}`));
  page.on("crash", () => problems.push("the page crashed"));
  page.on("requestfailed", (request) => {
    const why = request.failure()?.errorText ?? "";
    if (why !== "net::ERR_ABORTED") problems.push(`${request.url()}: ${why}`);
  });
  page.on("request", (request) => {
    const url = new URL(request.url());
    if (["data:", "blob:"].includes(url.protocol)) return;
    if (!hosts.includes(url.host)) problems.push(`asks another host: ${request.url()}`);
  });
  return problems;
}

export async function startBrowser(packages, url) {
  const { chromium } = createRequire(resolve(packages, "x.js"))("playwright-core");
  const browser = await chromium.launch({ executablePath: findChromium(), args: ARGS });
  return {
    // A page of its own, with a session of its own.
    async open(options = {}, expected = () => false) {
      const context = await browser.newContext({ reducedMotion: "reduce", ...options });
      const page = await context.newPage();
      page.setDefaultTimeout(30_000);
      const problems = watch(page, [new URL(url).host], expected);
      return { page, context, problems, close: () => context.close() };
    },
    close: () => browser.close(),
  };
}

// What axe-core has to say against a page: lines, none if all is well.
export async function axe(page, packages) {
  const source = createRequire(resolve(packages, "x.js")).resolve("axe-core/axe.min.js");
  const { readFileSync } = await import("node:fs");
  await page.evaluate(readFileSync(source, "utf8"));
  const { violations } = await page.evaluate(() => window.axe.run(document, {
    runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
  }));
  return violations.flatMap((v) =>
    v.nodes.map((n) => `${v.id}: ${n.target.join(" ")}: ${n.failureSummary}`));
}
