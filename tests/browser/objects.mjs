// SPDX-License-Identifier: Apache-2.0
// usage: node objects.mjs SERVER_URL PACKAGES VIEWER PICTURES SECONDS CASES
//
// Objects of a segmentation in three dimensions: for each case a real Neuroglancer shows
// one layer with some segments selected, nothing of which need exist before, and waits
// until all is loaded. Then its list of segments is searched by their properties. CASES
// is JSON: [{name, layer, ids, skeletons, nm, position}]. Screenshots are
// PICTURES-NAME.png; look at them after a change. Output is TAP.
import { done, ok } from "./browser.mjs";
import { openViewer } from "./viewer.mjs";

const [base, packages, bundle, pictures, seconds, text] = process.argv.slice(2);

function stateFor(one) {
  const axis = (d) => [one.nm[d] * 1e-9, "m"];
  const subsources = { mesh: !one.skeletons, skeletons: Boolean(one.skeletons) };
  return {
    dimensions: { x: axis(0), y: axis(1), z: axis(2) },
    position: one.position,
    projectionScale: one.extent,
    layers: [{
      type: "segmentation",
      name: one.layer,
      source: { url: `precomputed://${base}/${one.layer}`, subsources },
      segments: one.ids,
      skeletonRendering: { mode2d: "lines_and_points", mode3d: "lines" },
    }],
    showSlices: false,
    showAxisLines: false,
    layout: "3d",
  };
}

for (const one of JSON.parse(text)) {
  const viewer = await openViewer(packages, bundle);
  const asked = new Set();
  viewer.page.on("response", (r) => {
    if (r.status() < 300) asked.add(new URL(r.url()).pathname);
  });
  try {
    await viewer.show(stateFor(one));
    const ready = await viewer.ready(Number(seconds));
    const errors = await viewer.layerErrors();
    ok(`${one.name}: the layer opens`, errors.length === 0, errors.join("\n"));
    ok(`${one.name}: all of it is loaded and drawn`, ready,
      [...viewer.statuses].join(" "));
    const missing = one.ids.filter((id) =>
      ![...asked].some((path) => new RegExp(`/${id}(:|\\.index|$)`).test(path)));
    ok(`${one.name}: each object was asked for and sent`, missing.length === 0,
      missing.join(" "));
    const { colours, share } = await viewer.pictureShare();
    ok(`${one.name}: the screen shows objects`, colours > one.colours && share > one.share,
      `${colours} colours, ${share}`);
    ok(`${one.name}: nothing on the console, no request lost`,
      viewer.problems.length === 0, viewer.problems.join("\n"));
    await viewer.screenshot(`${pictures}-${one.name}.png`);
    console.log(`# ${[...asked].length} files, ${colours} colours, ${share.toFixed(3)}`);
  } finally {
    await viewer.close();
  }
}

// The list of segments: what a query of its properties leaves is what the server says.
{
  const layer = "seg.agg";
  const p = await (await fetch(`${base}/${layer}/segment_properties/info`)).json();
  // Single precision, as the viewer holds them; "NaN" is no number here either.
  const columns = Object.fromEntries(p.inline.properties.map((c) => [
    c.id, c.data_type === "float32" ? c.values.map(Math.fround) : c.values]));
  const all = p.inline.ids.length;
  const median = (key) => {
    const known = columns[key].filter((v) => !Number.isNaN(v)).sort((a, b) => a - b);
    return known[known.length >> 1];
  };
  const { nm, position } = JSON.parse(text)[0];
  const viewer = await openViewer(packages, bundle);
  // What the list says of a query, once that is `want`, or at last.
  const said = async (query, want) => {
    const state = stateFor({ nm, position, extent: 150, layer, ids: [] });
    Object.assign(state.layers[0], { segmentQuery: query, tab: "segments" });
    state.selectedLayer = { visible: true, layer };
    await viewer.show(state);
    const status = viewer.page.locator(".neuroglancer-segment-list-status-message").first();
    let words = "";
    for (let i = 0; i < 100 && words !== want; i++) {
      await viewer.page.waitForTimeout(100);
      words = (await status.count()) ? await status.textContent() : "";
    }
    return words;
  };
  // Two queries may find as many: between them all are shown, which is said otherwise.
  const listed = async (query, want) => {
    const before = await said("", `${all} total ids`);
    if (before !== `${all} total ids`) throw new Error(`all are listed as ${before}`);
    const words = await said(query, want);
    const errors = await viewer.page.locator(".neuroglancer-segment-query-errors li").count();
    ok(`the segment list finds ${query || "all"}: ${want}`, errors === 0 && words === want,
      `${words}, ${errors} errors`);
  };
  const match = (f) => {
    const found = p.inline.ids.filter((_, n) => f((key) => columns[key][n])).length;
    return `${found} match /${all} total ids`;
  };
  try {
    await listed("", `${all} total ids`);
    for (const key of Object.keys(columns)) {
      const bound = median(key);
      await listed(`${key}>=${bound}`, match((c) => c(key) >= bound));
    }
    await listed(`parts>=2 x0<${median("x0")} >voxels`, match((c) => c("parts") >= 2 &&
      c("x0") < median("x0")));
  } finally {
    await viewer.close();
  }
}
done();
