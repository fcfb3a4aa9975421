// SPDX-License-Identifier: Apache-2.0
// Neuroglancer with its state in the URL, as everywhere, and one thing of ours: where
// floodgated serves it, layers are refreshed when something of them was made.
//
// window.viewer is Neuroglancer's viewer, for its own console recipes and for tests.
import "neuroglancer";
import { makeDefaultViewer } from "neuroglancer/unstable/ui/default_viewer.js";
import { setDefaultInputEventBindings } from "neuroglancer/unstable/ui/default_input_event_bindings.js";
import {
  bindDefaultCopyHandler,
  bindDefaultPasteHandler,
} from "neuroglancer/unstable/ui/default_clipboard_handling.js";
import { bindTitle } from "neuroglancer/unstable/ui/title.js";
import { UrlHashBinding } from "neuroglancer/unstable/ui/url_hash_binding.js";
import { StatusMessage } from "neuroglancer/unstable/status.js";
import { refreshLayers } from "./refresh.js";

// The writer of the URL looks at the state 200 ms after its first change; on a slow
// machine layers are still being restored then, and the first one would be lost. It is
// let go when all layers are there.
const SETTLE_MS = 250;
const SETTLE_MAX_MS = 60_000;

function bindUrl(viewer) {
  const binding = viewer.registerDisposer(
    new UrlHashBinding(viewer.state, viewer.dataSourceProvider.sharedKvStoreContext),
  );
  const began = performance.now();
  const settle = () => {
    const layers = viewer.layerManager.managedLayers;
    const ready = layers.every((layer) => layer.isReady());
    if (!ready && performance.now() - began < SETTLE_MAX_MS) {
      setTimeout(settle, SETTLE_MS);
      return;
    }
    delete binding.setUrlHash;
    binding.setUrlHash();
  };
  binding.setUrlHash = () => {};
  viewer.registerDisposer(
    binding.parseError.changed.add(() => {
      const { value } = binding.parseError;
      if (value !== undefined)
        new StatusMessage().setErrorMessage(`Error parsing state: ${value.message}`);
    }),
  );
  binding.updateFromUrlHash();
  setTimeout(settle, SETTLE_MS);
}

const viewer = makeDefaultViewer();
window.viewer = viewer;
setDefaultInputEventBindings(viewer.inputEventBindings);
bindUrl(viewer);
viewer.registerDisposer(bindTitle(viewer.title));
bindDefaultCopyHandler(viewer);
bindDefaultPasteHandler(viewer);

// …/viewer/ of a floodgate server; anywhere else it is a plain viewer.
const [, folder] = location.pathname.match(/^(.*\/)viewer\/(index\.html)?$/) ?? [];
if (folder) refreshLayers(viewer, new URL(folder, location.href).href);
