// SPDX-License-Identifier: Apache-2.0
// A real Neuroglancer in headless Chromium, driven from Node.
//
//   const viewer = await openViewer(packages, bundle); // made by the two build.sh
//   await viewer.show(state);                          // a Neuroglancer state
//   await viewer.ready(seconds);                       // all visible chunks drawn
//   const values = await viewer.values("em", points);  // what the viewer holds there
//   viewer.problems                                    // console errors, lost requests
//   await viewer.close();
//
// The page comes from a small server of its own on another port than floodgate's, so
// every data request is cross-origin, as it is for most users.
import { createReadStream, existsSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { extname, join, normalize, resolve } from "node:path";
import { ARGS, findChromium } from "./browser.mjs";

const types = {
  ".html": "text/html",
  ".js": "text/javascript",
  ".css": "text/css",
  ".wasm": "application/wasm",
};

function servePage(folder) {
  const server = createServer((request, response) => {
    const path = normalize(new URL(request.url, "http://x").pathname);
    const file = join(folder, path.endsWith("/") ? `${path}index.html` : path);
    if (!existsSync(file) || !statSync(file).isFile()) {
      response.writeHead(path === "/favicon.ico" ? 204 : 404).end();
      return;
    }
    response.writeHead(200, {
      "Content-Type": types[extname(file)] ?? "application/octet-stream",
    });
    createReadStream(file).pipe(response);
  });
  return new Promise((done) => {
    server.listen(0, "127.0.0.1", () => done(server));
  });
}

// Not yet (503) is an answer that the viewer asks again about; the browser reports each
// one on the console all the same.
function isExpected(text) {
  return /Failed to load resource.* 503 /.test(text);
}

export async function openViewer(folder, bundle) {
  const executablePath = findChromium();
  if (!executablePath) throw new Error("no Chromium");
  const { chromium } = createRequire(resolve(folder, "x.js"))("playwright-core");
  const server = await servePage(join(bundle, "dist"));
  const browser = await chromium.launch({
    executablePath,
    args: ARGS,
  });
  const page = await browser.newPage({ viewport: { width: 960, height: 720 } });
  const problems = [];
  const statuses = new Map();
  const missed = []; // paths answered 404: the viewer takes each as empty for ever
  page.on("console", (message) => {
    if (message.type() === "error" && !isExpected(message.text()))
      problems.push(`console: ${message.text()} ${message.location().url}`);
  });
  page.on("pageerror", (error) => problems.push(`page: ${error.message}`));
  page.on("crash", () => problems.push("the page crashed"));
  page.on("requestfailed", (request) => {
    const why = request.failure()?.errorText ?? "";
    if (why !== "net::ERR_ABORTED") problems.push(`${request.url()}: ${why}`);
  });
  page.on("response", (response) => {
    const url = new URL(response.url());
    if (url.port === String(server.address().port)) return;
    const key = response.status();
    if (key === 404) missed.push(url.pathname);
    statuses.set(key, (statuses.get(key) ?? 0) + 1);
  });
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  await page.waitForFunction(() => window.viewer !== undefined, null, {
    timeout: 60_000,
  });

  return {
    problems,
    statuses,
    missed,
    page,

    async show(state) {
      await page.evaluate((s) => window.viewer.state.restoreState(s), state);
    },

    // Resolves to true when everything visible is loaded and drawn, false at the
    // deadline.
    async ready(seconds) {
      const deadline = Date.now() + 1000 * seconds;
      let steady = 0;
      while (Date.now() < deadline) {
        const now = await page.evaluate(() => {
          const { layerManager } = window.viewer;
          return (
            layerManager.managedLayers.length > 0 &&
            layerManager.managedLayers.every((l) => l.isReady()) &&
            window.viewer.isReady()
          );
        });
        // Ready once may be the moment before the first chunk is asked for.
        steady = now ? steady + 1 : 0;
        if (steady === 5) return true;
        await page.waitForTimeout(100);
      }
      return false;
    },

    // What the viewer holds at points [x, y, z] (voxels of the shown dimensions), as
    // decimal text; "null" where it has nothing.
    async values(layer, points) {
      return page.evaluate(
        ([name, at]) => {
          const managed = window.viewer.layerManager.getLayerByName(name);
          return at.map((p) => {
            const v = managed.layer.getValueAt(Float32Array.from(p, (c) => c + 0.5), {
              pickedRenderLayer: null,
            });
            const plain = v?.value ?? v?.key ?? v;
            return plain === null || plain === undefined ? "null" : String(plain);
          });
        },
        [layer, points],
      );
    },

    async layerErrors() {
      return page.evaluate(() =>
        window.viewer.layerManager.managedLayers.flatMap((l) =>
          (l.layer?.dataSources ?? []).flatMap((s) =>
            s.loadState?.error ? [`${l.name}: ${s.loadState.error.message}`] : [],
          ),
        ),
      );
    },

    async screenshot(path) {
      await page.screenshot({ path });
    },

    // Share of the pixels of a PNG screenshot area that are neither black nor the one
    // most common colour: a picture, not an empty panel.
    async pictureShare() {
      const shot = await page.screenshot({ clip: { x: 0, y: 80, width: 480, height: 300 } });
      return page.evaluate(async (data) => {
        const image = await createImageBitmap(await (await fetch(data)).blob());
        const canvas = new OffscreenCanvas(image.width, image.height);
        const context = canvas.getContext("2d");
        context.drawImage(image, 0, 0);
        const pixels = context.getImageData(0, 0, image.width, image.height).data;
        const counts = new Map();
        for (let i = 0; i < pixels.length; i += 4) {
          const key = (pixels[i] << 16) | (pixels[i + 1] << 8) | pixels[i + 2];
          counts.set(key, (counts.get(key) ?? 0) + 1);
        }
        const total = pixels.length / 4;
        const most = Math.max(...counts.values());
        return { colours: counts.size, share: 1 - most / total };
      }, `data:image/png;base64,${shot.toString("base64")}`);
    },

    async close() {
      await browser.close();
      server.close();
    },
  };
}
