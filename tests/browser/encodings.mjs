// SPDX-License-Identifier: Apache-2.0
// usage: node encodings.mjs SERVER_URL PACKAGES VIEWER PICTURES X,Y,Z [LAYER PLAIN APART]...
//
// Opens each layer by itself in Neuroglancer and compares voxels that the viewer holds,
// around X,Y,Z, with those of the layer PLAIN (raw, unsharded), read from the server by
// precomputed.mjs; they may be APART (0: equal). PICTURES: folder for a screenshot of each.
// Output is TAP.
import { openViewer } from "./viewer.mjs";
import { done, is, ok } from "./browser.mjs";
import { Volume } from "./precomputed.mjs";

const [base, packages, bundle, pictures, centreText, ...layers] = process.argv.slice(2);
const centre = centreText.split(",").map(Number);

function points(volume) {
  const { lo, hi } = volume.chunkOf(centre);
  const steps = [0.1, 0.25, 0.4, 0.55, 0.7, 0.85];
  const at = (d, f) => Math.floor(lo[d] + f * (hi[d] - lo[d]));
  return steps.flatMap((fy) => steps.map((fx) => [at(0, fx), at(1, fy), centre[2]]));
}

function stateFor(layer, volume) {
  const nm = volume.scale.resolution;
  const axis = (d) => [nm[d] * 1e-9, "m"];
  const { lo, hi } = volume.chunkOf(centre);
  return {
    dimensions: { x: axis(0), y: axis(1), z: axis(2) },
    position: [0, 1, 2].map((d) => (d < 2 ? (lo[d] + hi[d]) / 2 : centre[2] + 0.5)),
    crossSectionScale: (hi[0] - lo[0]) / 1000,
    layers: [{ type: volume.info.type, name: layer, source: `precomputed://${base}/${layer}` }],
    prefetch: false,
    showAxisLines: false,
    layout: "xy",
  };
}

for (let i = 0; i < layers.length; i += 3) {
  const [layer, plain, apart] = [layers[i], layers[i + 1], Number(layers[i + 2])];
  const volume = await Volume.open(`${base}/${plain}`);
  const at = points(volume);
  const want = [];
  for (const p of at) want.push(await volume.value(p));
  const viewer = await openViewer(packages, bundle);
  try {
    await viewer.show(stateFor(layer, volume));
    const ready = await viewer.ready(90);
    const errors = await viewer.layerErrors();
    ok(`${layer} opens`, errors.length === 0, errors.join("\n"));
    ok("all visible chunks are drawn", ready, [...viewer.statuses].join(" "));
    const got = await viewer.values(layer, at);
    if (apart === 0) {
      is(`${at.length} voxels are those of ${plain}`, got, want);
    } else {
      const most = Math.max(...got.map((v, k) => Math.abs(Number(v) - Number(want[k]))));
      ok(`${at.length} voxels are within ${apart} of those of ${plain}`, most <= apart,
        `${most} apart: ${got} and ${want}`);
    }
    ok("of more than one value", new Set(want).size > 1);
    ok("nothing on the console, no request lost", viewer.problems.length === 0,
      viewer.problems.join("\n"));
    await viewer.screenshot(`${pictures}/encodings-${layer}.png`);
  } finally {
    await viewer.close();
  }
}
done();
