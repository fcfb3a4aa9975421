// SPDX-License-Identifier: Apache-2.0
// The page at "/": asks for the server's state now and then, applies its events in
// between, and hands both to the parts of the page.
import {
  addressWithToken, base, get, layerPath, learnAccess, mayWrite, readsNeedToken, send,
  setToken, takeTokenFromAddress, token, tokenIsWrong,
} from "./api.js";
import { listen } from "./events.js";
import { boxText, count, el, extent, percent, setText, times } from "./format.js";
import { JobList } from "./jobs.js";
import { LayerList } from "./layers.js";
import { viewerLink, viewerState } from "./link.js";
import { showMachine } from "./machine.js";
import { RegionForm } from "./region.js";
import { SliceView, STATES } from "./slice.js";

const POLL_MS = 4000;
const HIDDEN_MS = 30_000;

const id = (name) => document.getElementById(name);

let status = null;
let chosen = null; // name of the layer that is shown large
let timer = 0;
let stopListening = null;

// ------------------------------------------------------------------ what is said

function say(text, bad = false) {
  const node = id("message");
  node.classList.toggle("bad", bad);
  setText(node, text);
}

// Run an order; tell what came of it.
async function act(order) {
  try {
    say(await order());
    refresh();
  } catch (error) {
    say(error.message, true);
    if (error.status === 401 || error.status === 403) needToken();
  }
}

function showConnection(state, text) {
  const node = id("connection");
  node.dataset.state = state;
  setText(node, text);
}

// ------------------------------------------------------------------ the token

// Whether the page may go on.
async function showAccess() {
  await learnAccess();
  const may = mayWrite();
  setText(id("access-state"), may ? "May start work" : "Reading only");
  id("access").dataset.may = String(may);
  id("token-forget").hidden = !token();
  if (tokenIsWrong()) {
    setToken(null);
    say("The server does not take this token.", true);
    return showAccess();
  }
  if (!readsNeedToken()) return true;
  if (token()) {
    const value = token();
    setToken(null);
    location.replace(addressWithToken(value));
    return false;
  }
  setText(id("access-state"), "Locked");
  showConnection("wait", "a token is needed");
  if (!id("message").textContent) say("This server is read with a token only.");
  needToken();
  id("token").focus();
  return false;
}

function needToken() {
  id("access").open = true;
}

// Start, or go on, once the server has said what this page may do.
async function enter() {
  try {
    if (!(await showAccess())) return;
  } catch (error) {
    showConnection("down", "no answer");
    setTimeout(enter, POLL_MS);
    return;
  }
  if (!stopListening) stopListening = listen(base, hear);
  await refresh();
  if (region.layer && mayWrite()) region.changed();
}

function initAccess() {
  takeTokenFromAddress();
  addEventListener("hashchange", () => takeTokenFromAddress() && enter());
  id("token-form").addEventListener("submit", (e) => {
    e.preventDefault();
    setToken(id("token").value.trim());
    id("token").value = "";
    id("access").open = false;
    say("");
    enter();
  });
  id("token-forget").addEventListener("click", () => {
    setToken(null);
    enter();
  });
}

// ------------------------------------------------------------------ the parts

// The layer whose blocks make this one: itself, or the one that it comes with.
const makerOf = (layer) =>
  layerOf(layer.agglomeration_of ?? layer.probability_of ?? layer.name) ?? layer;
const layerOf = (name) => status?.layers?.find((l) => l.name === name) ?? null;
const linkTo = (what) => (status ? viewerLink(status, viewerState(status.layers, what)) : "#");

const slice = new SliceView(id("slice"), {
  onBox: (box, done) => region.layer && region.setFlat(box, slice.view.z, done),
  onView: () => showView(),
  onBlocks: (told) => showBlocks(told),
  onPick: (at) => pick(at),
});

const region = new RegionForm(id("region"), {
  onBox: (box) => {
    slice.box = box;
    slice.draw();
  },
  started: (job) => {
    jobs.put(job);
    say(`Job ${job.id} is ordered.`);
    refresh();
  },
  needToken,
});

const layers = new LayerList(id("layers"), choose);

const jobs = new JobList(id("jobs"), id("jobs-more"), {
  act,
  look: (job) => {
    if (layerOf(chosen)?.maker.name !== job.layer) choose(job.layer);
    if (region.layer) region.setBox(job.box, false);
    slice.lookAt(job.box);
    id("stage").scrollIntoView({ block: "start" });
    id("slice").focus({ preventScroll: true });
  },
  link: (job) => linkTo({ focus: layerOf(job.layer), box: job.box }),
});

function choose(name) {
  chosen = name;
  showStage();
  layers.show(status.layers, chosen);
}

// ------------------------------------------------------------------ the layer shown large

function showStage() {
  const layer = layerOf(chosen);
  id("stage").hidden = !layer;
  if (!layer) return;
  const scale = layer.scales?.[0];
  const maker = makerOf(layer);
  setText(id("stage-name"), layer.name);
  setText(id("stage-facts"), scale
    ? [`${times(scale.size)} voxels`, `${scale.resolution.join(" × ")} nm`,
        extent(scale.size, scale.resolution), `${layer.data_type}, ${scale.encoding}`,
        `${layer.scales.length} scale${layer.scales.length === 1 ? "" : "s"}`].join(" · ")
    : layer.state);
  const { recipe } = maker;
  setText(id("stage-made"), recipe
    ? `Made from ${recipe.image.name} by ${recipe.model?.path ?? "a network"} in blocks of ` +
      `${times(recipe.block)} voxels.`
    : "");
  id("show-labels").disabled = layer.kind === "image";
  id("show-blocks").disabled = !recipe;
  id("draw").disabled = !recipe;
  if (!recipe) setMode("move");
  const other = slice.layer?.uuid !== layer.uuid || slice.layer?.name !== layer.name;
  region.show(maker); // its place is taken before the slice is fitted beside it
  slice.setLayer(layer, recipe ? layerOf(recipe.image.name) : null, maker);
  region.setLayer(maker, status.stages, other);
  if (other) showPicked();
  showView();
}

// Point at an object: it is selected, or no longer. Links into Neuroglancer select it, and
// its mesh is shown there.
async function pick(at) {
  const layer = layerOf(chosen);
  if (layer?.kind !== "segmentation") return;
  try {
    const { value } = await get(layerPath(layer.name, `/value?at=${at.join()}`));
    if (value === null || value === "0") {
      say(value === null ? "Nothing is made there yet." : "There is background.");
    } else if (slice.picked.delete(value)) {
      say(`Object ${value} is no longer selected.`);
    } else {
      slice.picked.set(value, at);
      say(`Object ${value} is selected; links into Neuroglancer show it.`);
    }
    showPicked();
  } catch (error) {
    say(error.message, true);
  }
}

function showPicked() {
  const ids = [...slice.picked.keys()];
  id("picked").hidden = ids.length === 0;
  id("picked-list").replaceChildren(...ids.map((value) =>
    el("li", {}, el("button.chip", {
      type: "button",
      "aria-label": `Deselect object ${value}`,
      onclick: () => {
        slice.picked.delete(value);
        showPicked();
      },
    }, `${value} ×`))));
  slice.draw();
  showView();
}

// Where the slice is, once it was moved to somewhere.
function place(layer) {
  if (slice.layer?.name !== layer.name) return null;
  const { x, y, z } = slice.view;
  return [Math.floor(x) + 0.5, Math.floor(y) + 0.5, z + 0.5];
}

function showView() {
  if (!slice.layer?.scales?.length) return;
  const { size, voxel_offset: o } = slice.finest;
  for (const input of [id("depth"), id("depth-number")]) {
    input.min = o[2];
    input.max = o[2] + size[2] - 1;
    if (document.activeElement !== input || input.type === "range") input.value = slice.view.z;
  }
  const layer = layerOf(chosen);
  if (layer)
    id("stage-link").href = linkTo({
      focus: layer, position: place(layer), segments: [...slice.picked.keys()],
    });
}

function showBlocks({ counts, hidden, failures = [] }) {
  const parts = counts
    ? Object.values(STATES).filter((s) => counts[s]).map((s) => `${count(counts[s])} ${s}`)
    : [];
  setText(id("blocks-text"), counts ? `Blocks in view: ${parts.join(", ")}` : hidden);
  id("legend").hidden = !counts;
  const list = id("stage-failures");
  list.hidden = failures.length === 0;
  id("stage-failures-list").replaceChildren(...failures.map((f) =>
    el("li", {}, `Block ${f.block.join(", ")}: ${f.error}`,
      el("button", {
        type: "button",
        "aria-label": `Retry block ${f.block.join(", ")}`,
        onclick: () => act(async () => {
          await send("POST", layerPath(slice.maker.name, "/retry"), { block: f.block });
          slice.loadBlocks();
          return `Block ${f.block.join(", ")} may be tried again.`;
        }),
      }, "Retry"))));
}

function setMode(mode) {
  slice.mode = mode;
  id("slice").dataset.mode = mode;
  id("move").setAttribute("aria-pressed", String(mode === "move"));
  id("draw").setAttribute("aria-pressed", String(mode === "draw"));
}

function initStage() {
  id("move").addEventListener("click", () => setMode("move"));
  id("draw").addEventListener("click", () => setMode("draw"));
  id("zoom-in").addEventListener("click", () => slice.zoom(0.7));
  id("zoom-out").addEventListener("click", () => slice.zoom(1 / 0.7));
  id("zoom-fit").addEventListener("click", () => slice.fit());
  for (const name of ["depth", "depth-number"])
    id(name).addEventListener("input", ({ target }) => {
      if (target.value !== "") slice.setDepth(Number(target.value));
    });
  for (const what of ["labels", "blocks"])
    id(`show-${what}`).addEventListener("change", ({ target }) => {
      slice.show[what] = target.checked;
      slice.draw();
    });
  setMode("move");
}

// ------------------------------------------------------------------ the server's state

function show(s) {
  status = s;
  for (const l of s.layers) l.maker = makerOf(l);
  setText(id("version"), s.version);
  const usable = s.layers.filter((l) => l.scales?.length);
  const first = usable.find((l) => l.recipe) ?? usable[0];
  if (!layerOf(chosen)) chosen = first?.name ?? null;
  layers.show(s.layers, chosen);
  id("empty").hidden = s.layers.length > 0;
  showStage();
  jobs.replace(s.jobs);
  id("jobs-none").hidden = s.jobs.length > 0;
  showMachine(id("machine"), s);
  const open = id("open");
  open.href = linkTo({});
  open.hidden = usable.length === 0;
  setText(id("open-where"), s.bundled ? "" : new URL(s.viewer).host);
  const running = s.jobs.filter((j) => j.state === "running");
  document.title = running.length
    ? `${percent(running[0].fraction)} · floodgate` : "floodgate";
}

async function refresh() {
  clearTimeout(timer);
  try {
    show(await get("api/status"));
    if (id("connection").dataset.state !== "live") showConnection("live", "live");
  } catch (error) {
    showConnection("down", error.status ? error.message : "no answer");
  }
  clearTimeout(timer);
  timer = setTimeout(refresh, document.hidden ? HIDDEN_MS : POLL_MS);
}

function hear({ name, data }) {
  if (name === "hello" || name === "lost") {
    showConnection("live", "live");
    refresh();
    if (slice.layer) slice.load();
  } else if (name === "down") {
    showConnection("down", "connection lost");
  } else if (name === "block") {
    slice.blockChanged(data);
  } else if (name === "retry" || name === "stitch") {
    slice.layerChanged(data);
  } else if (name === "job" && status) {
    const over = jobs.jobs.get(data.id)?.state !== data.state;
    jobs.put(data);
    id("jobs-none").hidden = true;
    if (over) {
      const verb = data.state === "failed" ? "has" : "is";
      say(`Job ${data.id} (${data.layer}, ${boxText(data.box)}) ${verb} ${data.state}.`);
      refresh();
    }
  }
}

window.floodgate = { slice, region, jobs }; // for the console, and for tests
initAccess();
initStage();
enter();
document.addEventListener("visibilitychange", () => document.hidden || !status || refresh());
