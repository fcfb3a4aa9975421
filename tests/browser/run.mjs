// SPDX-License-Identifier: Apache-2.0
// usage: node run.mjs SERVER_URL PACKAGES VIEWER SCREENSHOT.png [SECONDS [X,Y,Z]]
//
// Opens the layers `em` and `seg` of a floodgate server in Neuroglancer, waits until
// all that is visible was made and drawn, and compares voxels that the viewer holds
// with the bytes the server sends to another reader. The view is about one chunk of
// `seg` wide around X,Y,Z (the middle of the volume), so that little has to be made.
// Output is TAP.
import { openViewer } from "./viewer.mjs";
import { Volume } from "./precomputed.mjs";

const [base, folder, bundle, picture, seconds = "120", centreText] = process.argv.slice(2);
let count = 0;
let failed = 0;

function ok(good, text, detail) {
  count++;
  if (!good) failed++;
  console.log(`${good ? "ok" : "not ok"} ${count} - ${text}`);
  if (!good && detail !== undefined)
    console.log(String(detail).replace(/^/gm, "# "));
  return good;
}

// Points of the chunk around the centre, spread evenly, within the view.
function spread(centre, { lo, hi }) {
  const at = (d, i) => Math.floor(lo[d] + ((i + 0.5) * (hi[d] - lo[d])) / 6);
  const steps = [0, 1, 2, 3, 4, 5];
  return steps.flatMap((j) => steps.map((i) => [at(0, i), at(1, j), centre[2]]));
}

// Another reader waits for what is being made, up to the deadline.
async function patient(url) {
  const deadline = Date.now() + 1000 * Number(seconds);
  for (;;) {
    const response = await fetch(url);
    if (response.status !== 503 || Date.now() > deadline) return response;
    await new Promise((done) => setTimeout(done, 500));
  }
}

async function compare(viewer, layer, volume, points) {
  const got = await viewer.values(layer, points);
  const differ = [];
  const seen = new Set();
  for (const [i, point] of points.entries()) {
    const want = await volume.value(point);
    seen.add(want);
    if (got[i] !== want) differ.push(`${point}: viewer ${got[i]}, server ${want}`);
  }
  ok(
    differ.length === 0,
    `${layer}: ${points.length} voxels are equal in viewer and server`,
    differ.join("\n"),
  );
  return seen;
}

function stateFor(em, centre, chunk) {
  const nm = em.scale.resolution;
  const axis = (d) => [nm[d] * 1e-9, "m"];
  return {
    dimensions: { x: axis(0), y: axis(1), z: axis(2) },
    position: centre.map((v) => v + 0.5),
    crossSectionScale: (chunk.hi[0] - chunk.lo[0]) / 1000,
    layers: [
      { type: "image", name: "em", source: `precomputed://${base}/em` },
      {
        type: "segmentation",
        name: "seg",
        source: `precomputed://${base}/seg`,
        selectedAlpha: 0.4,
        notSelectedAlpha: 0.4,
      },
    ],
    prefetch: false,
    showAxisLines: false,
    layout: "xy",
  };
}

const em = await Volume.open(`${base}/em`, patient);
const seg = await Volume.open(`${base}/seg`, patient);
const size = em.scale.size;
let centre = centreText
  ? centreText.split(",").map(Number)
  : size.map((n, d) => em.offset[d] + Math.floor(n / 2));
const chunk = seg.chunkOf(centre);
centre = centre.map((v, d) =>
  d < 2 ? Math.floor((chunk.lo[d] + chunk.hi[d]) / 2) : v,
);

const viewer = await openViewer(folder, bundle);
try {
  await viewer.show(stateFor(em, centre, chunk));
  const ready = await viewer.ready(Number(seconds));
  const errors = await viewer.layerErrors();
  ok(errors.length === 0, "both layers open", errors.join("\n"));
  ok(ready, "all visible chunks are drawn in time", [...viewer.statuses].join(" "));
  const points = spread(centre, chunk);
  const grey = await compare(viewer, "em", em, points);
  ok(grey.size > 5, "em: the voxels are an image, not one value", grey.size);
  const ids = await compare(viewer, "seg", seg, points);
  ok(ids.size > 1, "seg: more than one object or background", [...ids].join(" "));
  const { colours, share } = await viewer.pictureShare();
  ok(colours > 50 && share > 0.5, "the screen shows a picture", `${colours} colours, ${share}`);
  await viewer.screenshot(picture);
  ok(viewer.problems.length === 0, "nothing on the console, no request lost",
    viewer.problems.join("\n"));
  console.log(`# statuses: ${[...viewer.statuses].map(([s, n]) => `${s} x ${n}`).join(", ")}`);
  for (const path of viewer.missed) console.log(`# 404 ${path}`);
  console.log(`# screenshot: ${picture}`);
} finally {
  await viewer.close();
}
console.log(`1..${count}`);
process.exit(failed ? 1 : 0);
