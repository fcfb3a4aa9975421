// SPDX-License-Identifier: Apache-2.0
// Links into Neuroglancer with a complete state: space, position, scale, layers.
import { base } from "./api.js";

// Nanometres as metres with the same digits: Number("8e-9") is the nearest number to it,
// which 8 * 1e-9 is not, and is written as 8e-9 again.
export const metres = (nm) => (String(nm).includes("e") ? nm * 1e-9 : Number(`${nm}e-9`));

const isShown = (layer) => layer.state !== "degraded" && layer.scales?.length > 0;
const isCompanion = (l) => Boolean(l.probability_of || l.agglomeration_of);
const isStitched = (l, name) => l.agglomeration_of === name;

const makerOf = (layer) => layer.agglomeration_of ?? layer.probability_of ?? layer.name;

// The layers that belong in a view of `focus`, lowest first: its image, itself, and what
// comes with it. Without a focus all of them.
function chosen(layers, focus) {
  const all = layers.filter(isShown);
  const name = focus && makerOf(focus);
  const image = layers.find((l) => l.name === name)?.recipe?.image?.name;
  const list = focus
    ? all.filter((l) => [name, image, focus.name].includes(l.name) || isStitched(l, name))
    : all;
  return [...list].sort((a, b) => (a.kind === "segmentation") - (b.kind === "segmentation"));
}

// Of layers that are made here only the first is shown at first, since what is looked at is
// made; and of that its stitched view, where there is one.
function isVisible(layer, list, focus) {
  if (layer.probability_of) return layer === focus;
  const first = focus ? makerOf(focus) : list.find((l) => l.recipe)?.name;
  const made = list.find((l) => l.name === makerOf(layer))?.recipe;
  if (made && makerOf(layer) !== first) return false;
  return !list.some((l) => isStitched(l, layer.name));
}

function layerState(layer, list, segments, focus) {
  const state = {
    type: layer.kind === "segmentation" ? "segmentation" : "image",
    name: layer.name,
    source: `precomputed://${base}${layer.name}`,
  };
  if (state.type === "segmentation") {
    state.selectedAlpha = 0.35;
    state.notSelectedAlpha = 0.2;
    if (segments?.length && layer === focus) state.segments = segments.map(String);
  }
  if (!state.segments && !isVisible(layer, list, focus)) state.visible = false;
  return state;
}

// layers: all of the server. focus: the layer that the link is about, or null. box: six
// voxels of its finest scale that are to be seen. segments: ids to select.
export function viewerState(layers, { focus = null, box = null, position = null, segments } = {}) {
  const list = chosen(layers, focus);
  const space = focus ?? list.find((l) => !isCompanion(l)) ?? list[0];
  const state = { layers: list.map((l) => layerState(l, list, segments, focus)) };
  if (space) {
    const { size, resolution, voxel_offset: offset } = space.scales[0];
    const lo = box ? box.slice(0, 3) : offset;
    const hi = box ? box.slice(3) : offset.map((o, d) => o + size[d]);
    const wide = Math.max(...lo.map((v, d) => ((hi[d] - v) * resolution[d]) / resolution[0]));
    state.dimensions = Object.fromEntries(
      ["x", "y", "z"].map((axis, d) => [axis, [metres(resolution[d]), "m"]]),
    );
    state.position = lo.map((v, d) => position?.[d] ?? Math.floor((v + hi[d]) / 2) + 0.5);
    // Of a whole layer that is made on demand a few blocks, not all at once.
    state.crossSectionScale = Number(
      Math.max(0.05, box ? wide / 400 : Math.min(wide / 800, 0.5)).toPrecision(3),
    );
    state.projectionScale = Math.ceil(wide * 1.5);
  }
  if (focus) state.selectedLayer = { layer: focus.name, visible: false };
  state.layout = "4panel";
  return state;
}

// viewer: where it is, as the server says; our own is found relative to the page.
export function viewerLink({ viewer, bundled }, state) {
  const where = bundled ? new URL("viewer/", base).href : viewer;
  return `${where}#!${encodeURIComponent(JSON.stringify(state))}`;
}
