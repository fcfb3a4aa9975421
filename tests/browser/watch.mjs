// SPDX-License-Identifier: Apache-2.0
// usage: node watch.mjs SERVER_URL TOKEN PACKAGES VIEWER PICTURES MEND
//
// The bundled viewer while things are made: a segmentation appears by itself where it was
// asked for, where it was "not there", and where it had failed; a viewer without our script
// (the same bundle, from another origin) stays as it was. Against the server of test_page.py.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { done, is, ok, startBrowser, waitFor } from "./browser.mjs";
import { openViewer } from "./viewer.mjs";

const [url, token, packages, bundle, pictures, mend] = process.argv.slice(2);
const browser = await startBrowser(packages, url);
// Not yet is an answer; so is that of the chunk that is broken on purpose.
const expected = (t) => /503 \(Service Unavailable\)/.test(t) || /500 .*\/made2\//.test(t) ||
  /404 \(Not Found\).*\/(seg|made2)\/(\d|mesh\/|skeleton\/)/.test(t);

async function api(path, method = "GET", body) {
  const reply = await fetch(`${url}/${path}`, {
    method,
    body: body && JSON.stringify(body),
    headers: { Authorization: `Bearer ${token}` },
  });
  return reply.json();
}

function stateOf(image, labels, position, scale) {
  const source = (name) => `precomputed://${url}/${name}`;
  return {
    dimensions: { x: [8e-9, "m"], y: [8e-9, "m"], z: [8e-9, "m"] },
    position: position.map((v) => v + 0.5),
    crossSectionScale: scale,
    layers: [
      { type: "image", name: image, source: source(image) },
      { type: "segmentation", name: labels, source: source(labels), selectedAlpha: 0.5 },
    ],
    prefetch: false,
    showAxisLines: false,
    showDefaultAnnotations: false,
    layout: "xy",
  };
}

async function open(state) {
  const watched = await browser.open({ viewport: { width: 480, height: 420 } }, expected);
  const { page } = watched;
  await page.goto(`${url}/viewer/#!${encodeURIComponent(JSON.stringify(state))}`);
  await page.waitForFunction((n) => window.viewer?.layerManager.managedLayers.length === n &&
    window.viewer.layerManager.managedLayers.every((l) => l.isReady()), state.layers.length);
  return watched;
}

const valuesAt = (page, layer, points) => page.evaluate(([name, at]) =>
  at.map((p) => {
    const { layer: user } = window.viewer.layerManager.getLayerByName(name);
    const v = user.getValueAt(Float32Array.from(p, (c) => c + 0.5), { pickedRenderLayer: null });
    return String(v?.value ?? v?.key ?? v ?? "nothing");
  }), [layer, points]);

const some = (values) => values.some((v) => v !== "nothing" && v !== "0");

// How many pixels in the middle of the picture have a colour: labels over grey.
async function coloured(page, path) {
  const png = await page.screenshot({ path, clip: { x: 40, y: 90, width: 400, height: 300 } });
  return page.evaluate(async (data) => {
    const image = await createImageBitmap(await (await fetch(data)).blob());
    const context = new OffscreenCanvas(image.width, image.height).getContext("2d");
    context.drawImage(image, 0, 0);
    const { data: d } = context.getImageData(0, 0, image.width, image.height);
    let n = 0;
    for (let i = 0; i < d.length; i += 4)
      n += Math.max(d[i], d[i + 1], d[i + 2]) - Math.min(d[i], d[i + 1], d[i + 2]) > 25;
    return n;
  }, `data:image/png;base64,${png.toString("base64")}`);
}

const square = (lo, hi, z, step = 6) => {
  const points = [];
  for (let y = lo; y < hi; y += step) for (let x = lo; x < hi; x += step) points.push([x, y, z]);
  return points;
};

async function jobOver(box, layer = "seg") {
  const job = await api("api/jobs", "POST", { layer, box });
  await waitFor(`job ${job.id}`, async () =>
    ["done", "failed"].includes((await api(`api/jobs/${job.id}`)).state), 90);
}

// Asked for by the view alone, like any viewer does.
async function onDemand() {
  const { page, problems, close } = await open(stateOf("em", "seg", [80, 80, 80], 0.03));
  await waitFor("labels of the view's own blocks", async () =>
    some(await valuesAt(page, "seg", square(72, 90, 80))), 90);
  ok("what is looked at is made and appears", true);
  await waitFor("its colours", async () =>
    (await coloured(page, join(pictures, "watch-demand.png"))) > 20_000, 60);
  ok("in colour", true);
  is("nothing was complained of", problems, []);
  await close();
}

// A view from afar asks for coarse chunks only, which start nothing: 404, and final.
async function fromAfar() {
  const state = stateOf("em", "seg", [208, 208, 208], 2);
  const points = square(194, 222, 208);
  const ours = await open(state);
  const plain = await openViewer(packages, bundle);
  await plain.show(state);
  ok("both viewers are done loading", await plain.ready(60));
  await waitFor("ours", () => ours.page.evaluate(() => window.viewer.isReady()));
  ok("there are no labels", !some(await valuesAt(ours.page, "seg", points)) &&
    !some(await plain.values("seg", points)));
  const before = await coloured(ours.page, join(pictures, "watch-before.png"));
  let reloads = 0;
  ours.page.on("framenavigated", () => reloads++);
  await jobOver([193, 193, 200, 223, 223, 216]);
  await waitFor("labels in our viewer", async () =>
    some(await valuesAt(ours.page, "seg", points)), 30);
  ok("labels appear by themselves", true);
  await waitFor("their colours", async () =>
    (await coloured(ours.page, join(pictures, "watch-after.png"))) > 20, 60);
  is("in colour, and there was none before", before, 0);
  is("without a reload", reloads, 0);
  ok("a plain viewer goes on showing none", !some(await plain.values("seg", points)));
  is("the viewer's address still names the state", (await ours.page.evaluate(() =>
    decodeURIComponent(location.hash))).includes("8e-9"), true);
  is("nothing was complained of", ours.problems, []);
  await plain.close();
  await ours.close();
}

// An object that is selected before any block brought it forth: 404, and final. `made` is
// the same computation, so its ids are those that `made2` will have.
async function meshes() {
  const chunk = await fetch(`${url}/made/8_8_8/8-40_0-32_-16-16`);
  is("a like layer is made", chunk.status, 200);
  const objects = await firstIds();
  const state = {
    ...stateOf("cells2", "made2", [40, 32, 16], 1),
    layout: "3d",
    showSlices: false,
    projectionScale: 160,
  };
  state.layers = [{ ...state.layers[1], segments: objects.map(String) }];
  const { page, problems, close } = await open(state);
  const plain = await openViewer(packages, bundle);
  await plain.show(state);
  await waitFor("the plain viewer to be told", () =>
    [...plain.missed].some((path) => path.startsWith("/made2/mesh/")));
  is("there is no mesh", await coloured(page, join(pictures, "watch-mesh-before.png")), 0);
  await jobOver([8, 0, -16, 72, 64, 48], "made2");
  await waitFor("the mesh", async () =>
    (await coloured(page, join(pictures, "watch-mesh.png"))) > 2000, 60);
  ok("meshes appear by themselves", true);
  is("a plain viewer goes on showing none", await coloured(plain.page), 0);
  is("nothing was complained of", problems, []);
  await plain.close();
  await close();
}

// Ids of objects in the first block of `made`, as its viewer sees them.
async function firstIds() {
  const { page, close } = await open(stateOf("cells", "made", [40, 32, 16], 0.3));
  const points = square(10, 70, 16, 3);
  const ids = await waitFor("labels", async () => {
    const values = await valuesAt(page, "made", points);
    return some(values) && values;
  });
  await close();
  return [...new Set(ids)].filter((v) => /^[1-9]/.test(v)).slice(0, 6);
}

// A block that fails is final for Neuroglancer, too.
async function failed() {
  const { page, problems, close } = await open(stateOf("cells2", "made2", [84, 72, 20], 0.05));
  await waitFor("the failure", async () =>
    (await api("api/layers/made2/blocks")).states[3] === "f", 60);
  const points = square(73, 80, 20, 2);
  ok("a broken block shows nothing", !some(await valuesAt(page, "made2", points)));
  writeFileSync(mend, "mended\n");
  await waitFor("the image to be mended", async () =>
    (await fetch(`${url}/cells2/8_8_8/72-108_64-80_-16-48`)).status === 200);
  await api("api/layers/made2/retry", "POST", { block: [1, 1, 0] });
  await jobOver([72, 64, -16, 108, 80, 48], "made2");
  await waitFor("its labels", async () =>
    some(await valuesAt(page, "made2", points)), 30);
  ok("after a retry it appears by itself", true);
  is("nothing was complained of", problems, []);
  await close();
}

// However many tabs there are, the server has one stream of each browser.
async function oneStream() {
  const streams = async () => Number((await (await fetch(`${url}/metrics`)).text())
    .match(/^floodgate_event_streams (\d+)/m)[1]);
  await waitFor("streams of before to end", async () => (await streams()) === 0);
  const first = await open(stateOf("em", "seg", [80, 80, 80], 0.03));
  const second = await first.context.newPage();
  await second.goto(`${url}/`);
  await second.waitForSelector("#connection[data-state=live]");
  const third = await first.context.newPage();
  await third.goto(`${url}/`);
  await third.waitForSelector("#connection[data-state=live]");
  is("three tabs share one stream", await streams(), 1);
  await second.close();
  await third.waitForTimeout(200);
  is("that does not end with one of them", await streams(), 1);
  await first.close();
  await waitFor("the stream's end", async () => (await streams()) === 0);
  ok("and ends with the last", true);
}

try {
  await onDemand();
  await fromAfar();
  await meshes();
  await failed();
  await oneStream();
} catch (error) {
  console.log(`Bail out! ${error.stack.split("\n").slice(0, 6).join(" | ")}`);
  await browser.close();
  process.exit(1);
}
await browser.close();
done();
