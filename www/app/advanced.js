/** What few need: types of single tensors, an importance matrix, several files, and the best scheme for a size. */

import { bytes } from "../embed/format.js";
import { $, announce, h, show } from "./dom.js";
import { clearError, isAbort, showError } from "./errors.js";
import { choice, engine, set, state, update, watch } from "./state.js";

/** Each select or box and the setting that it shows. */
const FIELDS = {
  "output-type": "outputType",
  "embedding-type": "tokenEmbeddingType",
  split: "splitBytes",
  requantize: "allowRequantize",
};

/** Takes a change of one of the fields here; false where it is another's. */
export function takeAdvanced(target) {
  if (target.id === "imatrix") {
    readImatrix(target.files[0]);
    return true;
  }
  const setting = FIELDS[target.id];
  if (!setting) return false;
  set({ [setting]: target.type === "checkbox" ? target.checked : target.value });
  return true;
}

/** Fills the selects with the types that there are. */
export function drawTypes(types) {
  for (const [id, setting] of [
    ["output-type", "outputType"],
    ["embedding-type", "tokenEmbeddingType"],
  ]) {
    $(id).replaceChildren(
      h("option", { value: "" }, "As the scheme has it"),
      ...types.map((type) => h("option", { value: type, selected: type === state.settings[setting] }, type)),
    );
  }
}

async function readImatrix(file) {
  const note = $("imatrix-note");
  clearError($("output-error"));
  if (!file) return;
  try {
    const { openImatrix } = await engine();
    const imatrix = await openImatrix(file);
    update({ imatrix });
    note.textContent = `${file.name}: importance of ${imatrix.entries} matrices.`;
  } catch (error) {
    $("imatrix").value = "";
    update({ imatrix: null });
    note.textContent = error.message;
  }
  announce(note.textContent);
}

/** The reading for a size, while it lasts. @type {AbortController | null} */
let fitting = null;

async function fit() {
  const { checkpoint } = state;
  const size = Number($("fit-size").value) * Number($("fit-unit").value);
  const note = $("fit-note");
  if (!checkpoint) return;
  if (!(size > 0)) {
    note.textContent = "Give a size, such as 2 GB.";
    show(note, true);
    $("fit-size").focus();
    return;
  }
  fitting?.abort();
  const own = new AbortController();
  fitting = own;
  const { scheme: _, splitBytes: __, ...options } = choice();
  note.textContent = "Reading a few rows of every kind of matrix …";
  show(note, true);
  $("fit").disabled = true;
  try {
    const found = await checkpoint.fit({ ...options, targetBytes: size, signal: own.signal });
    if (state.checkpoint !== checkpoint) return;
    set({ scheme: found.scheme });
    update(state.converting ? {} : { result: null });
    const percent = (100 * Math.sqrt(found.error)).toPrecision(2);
    note.textContent = `${found.scheme}: ${bytes(found.bytes)}, weights off by about ${percent} %.`;
  } catch (error) {
    if (isAbort(error) || state.checkpoint !== checkpoint) return show(note, false);
    if (error.code === "target-too-small") note.textContent = error.message;
    else {
      show(note, false);
      showError($("output-error"), error, "Could not choose a scheme", fit);
    }
  } finally {
    if (fitting === own) {
      fitting = null;
      $("fit").disabled = false;
    }
  }
}

export function startAdvanced() {
  for (const [id, setting] of Object.entries(FIELDS)) {
    const field = $(id);
    if (field.type === "checkbox") field.checked = state.settings[setting];
    else field.value = state.settings[setting];
  }
  $("fit").addEventListener("click", fit);
  $("fit-size").addEventListener("keydown", (event) => {
    if (event.key === "Enter") fit();
  });
  $("imatrix-clear").addEventListener("click", () => {
    $("imatrix").value = "";
    update({ imatrix: null });
    $("imatrix-note").textContent = "From llama-imatrix, .gguf or .dat. It never leaves this page.";
    $("imatrix").focus();
  });
  watch(["imatrix"], () => show($("imatrix-clear"), state.imatrix !== null));
  watch(["checkpoint"], () => {
    fitting?.abort();
    show($("fit-note"), false);
    $("fit").disabled = state.checkpoint === null;
  });
}
