// SPDX-License-Identifier: Apache-2.0
// The smallest page with a real Neuroglancer in it. The test drives it through
// window.viewer; nothing is read from or written to the URL.
import "neuroglancer";
import { makeDefaultViewer } from "neuroglancer/unstable/ui/default_viewer.js";
import { setDefaultInputEventBindings } from "neuroglancer/unstable/ui/default_input_event_bindings.js";

const viewer = makeDefaultViewer();
setDefaultInputEventBindings(viewer.inputEventBindings);
window.viewer = viewer;
