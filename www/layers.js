// SPDX-License-Identifier: Apache-2.0
// The list of layers: what there is, how far a made one is, a small picture of each.
import { layerPath, picture } from "./api.js";
import { bar, count, el, extent, percent, setText } from "./format.js";

const SMALL = 112; // pixels of a picture's width

const hidden = (layer) => Boolean(layer.probability_of);

const chip = (layer) =>
  layer.agglomeration_of ? "stitched" : layer.generated ? "made here" : layer.kind;

export function blocksOf(layer) {
  return layer.blocks ? layer.blocks.reduce((a, b) => a * b, 1) : 0;
}

function stateText(layer) {
  if (layer.why) return layer.why;
  if (layer.agglomeration_of) return `${layer.agglomeration_of} with its pieces joined`;
  if (!layer.generated) return "served as it is";
  const all = blocksOf(layer);
  const { blocks_done: done = 0, blocks_failed: failed = 0 } = layer.counts ?? {};
  const share = done > 0 && done / all < 0.01 ? "under 1 %" : percent(done / all);
  return `${count(done)} of ${count(all)} blocks made (${share})` +
    (failed ? `, ${count(failed)} failed` : "");
}

export class LayerList {
  constructor(root, choose) {
    this.root = root;
    this.choose = choose;
    this.items = new Map(); // name -> {node, …}
  }

  // status: the server's; chosen: the name that is shown large.
  show(layers, chosen) {
    const names = layers.filter((l) => !hidden(l)).map((l) => l.name);
    for (const [name, item] of this.items) {
      if (names.includes(name)) continue;
      item.node.remove();
      this.items.delete(name);
    }
    for (const layer of layers) {
      if (hidden(layer)) continue;
      if (!this.items.has(layer.name)) this.add(layer);
      this.update(layer, layer.name === chosen);
    }
  }

  add(layer) {
    const canvas = el("canvas", { width: SMALL, height: SMALL, "aria-hidden": "true" });
    const parts = {
      kind: el("span.chip"),
      facts: el("span.facts"),
      state: el("span.facts"),
      bar: bar(0),
    };
    const button = el(
      "button.layer",
      { type: "button", onclick: () => this.choose(layer.name) },
      canvas,
      el("span.text", {}, el("span.name", {}, layer.name), parts.kind, parts.facts,
        parts.state, parts.bar),
    );
    const node = el("li", {}, button);
    this.items.set(layer.name, { node, button, canvas, ...parts, drawn: -1 });
    this.root.append(node);
  }

  update(layer, chosen) {
    const item = this.items.get(layer.name);
    const scale = layer.scales?.[0];
    const made = (layer.maker ?? layer).counts?.blocks_done ?? 0;
    item.button.setAttribute("aria-pressed", String(chosen));
    setText(item.kind, chip(layer));
    item.kind.classList.toggle("made", Boolean(layer.generated));
    setText(item.facts, scale ? extent(scale.size, scale.resolution) : "");
    setText(item.state, stateText(layer));
    item.state.classList.toggle("bad", layer.state !== "ready" || Boolean(layer.why));
    item.bar.hidden = !layer.generated || Boolean(layer.agglomeration_of);
    item.bar.firstChild.style.width = `${(100 * made) / (blocksOf(layer) || 1)}%`;
    if (item.drawn !== made && scale) {
      item.drawn = made;
      this.draw(layer, item).catch(() => {});
    }
  }

  async draw(layer, item) {
    const { size, resolution } = layer.scales[0];
    const shape = (size[1] * resolution[1]) / (size[0] * resolution[0]);
    const width = Math.max(1, Math.round(shape > 1 ? SMALL / shape : SMALL));
    const image = await picture(layerPath(layer.name, `/slice?width=${width}`));
    const context = item.canvas.getContext("2d");
    context.clearRect(0, 0, SMALL, SMALL);
    context.drawImage(image, (SMALL - image.width) / 2, (SMALL - image.height) / 2);
  }
}
