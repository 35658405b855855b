/** The scheme, with what each would weigh, before anything is downloaded. */

import { bits, bytes, sentence } from "../embed/format.js";
import { drawTypes, startAdvanced, takeAdvanced } from "./advanced.js";
import { $, h, show } from "./dom.js";
import { mainDtype, weightBytes } from "./source.js";
import { choice, set, state, update, watch } from "./state.js";

/** The group that is always open. */
const RECOMMENDED = "Recommended";

/** The size that a scheme gives, or null where the checkpoint cannot take it. */
function sizeOf(scheme) {
  try {
    return state.checkpoint?.estimate({ ...choice(), scheme }).bytes ?? null;
  } catch {
    return null;
  }
}

function row(label, detail, size, largest, input) {
  const bar = h("i", { class: "size-bar" });
  bar.style.inlineSize = size && largest ? `${Math.min(100, (100 * size) / largest)}%` : "0";
  return h(
    input ? "label" : "div",
    { class: input ? "scheme" : "scheme original" },
    input ?? h("span", { class: "no-radio" }),
    h("span", { class: "scheme-name" }, label),
    h("span", { class: "scheme-bits" }, detail),
    h("span", { class: "scheme-size" }, size === null ? "–" : bytes(size)),
    bar,
  );
}

/** Groups that a person opened, or closed. @type {Map<string, boolean>} */
const opened = new Map();

/** The rows of a group; the first group stands open, the others under its name. */
function group(name, rows, open) {
  if (name === RECOMMENDED) return rows;
  const summary = h("summary", { "data-name": name }, name, h("span", { class: "quiet" }, ` ${rows.length}`));
  const details = h("details", { class: "scheme-group", open }, summary, ...rows);
  // By the press, not by the toggle event, which the page's own opening fires too.
  summary.addEventListener("click", () => {
    opened.set(name, !details.open);
    requestAnimationFrame(() => {
      drawSchemes();
      [...$("schemes").querySelectorAll("summary")].find((each) => each.dataset.name === name)?.focus();
    });
  });
  return [details];
}

/** Keeps the radio buttons (and the focus on them) and redraws what depends on the checkpoint. */
function drawSchemes() {
  const { checkpoint, settings } = state;
  const offered = state.schemes.filter(({ format }) => format === settings.format);
  const field = $("schemes");
  // The scheme's radio button may hold the focus, and must hold it after.
  const focused = field.contains(document.activeElement) ? document.activeElement.value : null;
  const original = checkpoint ? weightBytes(checkpoint) : null;
  const sizes = new Map(offered.map(({ scheme }) => [scheme, sizeOf(scheme)]));
  const chosen = offered.find(({ scheme }) => scheme === settings.scheme)?.group;
  const isOpen = (name) => name === RECOMMENDED || (opened.get(name) ?? name === chosen);
  // The bars are to be compared: what is folded away does not count.
  const seen = offered.filter(({ group }) => isOpen(group));
  const largest = Math.max(original ?? 0, ...seen.map(({ scheme }) => sizes.get(scheme) ?? 0));
  const radio = ({ scheme, bits: width, summary }) => {
    const checked = scheme === settings.scheme;
    const input = h("input", { type: "radio", name: "scheme", value: scheme, checked });
    const line = row(scheme, `${bits(width)} bits`, sizes.get(scheme), largest, input);
    line.title = sentence(summary);
    return line;
  };
  const names = [...new Set(offered.map(({ group }) => group))];
  // What is worth trying first comes first; the other groups keep the order of their largest.
  names.sort((a, b) => Number(b === RECOMMENDED) - Number(a === RECOMMENDED));
  const groups = names.flatMap((name) => {
    const members = offered.filter(({ group }) => group === name);
    return group(name, members.map(radio), isOpen(name));
  });
  const source = checkpoint && row(mainDtype(checkpoint), "as it is", original, largest, null);
  field.replaceChildren(field.firstElementChild, ...(source ? [source] : []), ...groups);
  field.style.setProperty("--original", original && largest ? `${(100 * original) / largest}%` : "100%");
  if (focused) field.querySelector(`[value="${CSS.escape(focused)}"]`)?.focus();
  $("scheme-summary").textContent = sentence(offered.find(({ scheme }) => scheme === settings.scheme)?.summary ?? "");
}

function drawFormats() {
  const formats = [...new Set(state.schemes.map(({ format }) => format))];
  const names = { gguf: "GGUF", onnx: "ONNX", openvino: "OpenVINO", mlx: "MLX" };
  $("format-name").textContent = formats.length === 1 ? (names[formats[0]] ?? formats[0]) : "";
  show($("formats"), formats.length > 1);
  $("formats").replaceChildren(
    $("formats").firstElementChild,
    ...formats.map((format) =>
      h(
        "label",
        null,
        h("input", { type: "radio", name: "format", value: format, checked: format === state.settings.format }),
        h("span", null, names[format] ?? format),
      ),
    ),
  );
}

/** The chosen scheme's estimate, or why there is none. */
function drawEstimate() {
  if (!state.checkpoint) return;
  try {
    update({ estimate: state.checkpoint.estimate(choice()), estimateError: null });
  } catch (error) {
    update({ estimate: null, estimateError: error });
  }
}

/** The types that a tensor can be given. */
function types() {
  const offered = state.schemes.filter(({ format }) => format === state.settings.format);
  return [...new Set(offered.map(({ type }) => type))];
}

function drawOverrides() {
  const list = $("overrides");
  const names = types();
  const change = (index, part) =>
    set({ overrides: state.settings.overrides.map((each, at) => (at === index ? { ...each, ...part } : each)) });
  list.replaceChildren(
    ...state.settings.overrides.map(({ match, scheme }, index) => {
      const pattern = h("input", {
        value: match,
        "aria-label": `Exception ${index + 1}: pattern`,
        placeholder: "lm_head|embed_tokens",
        spellcheck: "false",
        autocapitalize: "none",
      });
      // The estimate follows the typing, after a breath.
      let typing = 0;
      const take = () => {
        clearTimeout(typing);
        if (state.settings.overrides[index]?.match !== pattern.value.trim())
          change(index, { match: pattern.value.trim() });
      };
      pattern.addEventListener("input", () => {
        clearTimeout(typing);
        typing = setTimeout(take, 300);
      });
      pattern.addEventListener("change", take);
      const select = h(
        "select",
        { "aria-label": `Exception ${index + 1}: type`, change: () => change(index, { scheme: select.value }) },
        ...names.map((name) => h("option", { selected: name === scheme }, name)),
      );
      const remove = h("button", { type: "button", "aria-label": `Remove exception ${index + 1}` }, "Remove");
      remove.addEventListener("click", () => {
        set({ overrides: state.settings.overrides.filter((_, at) => at !== index) });
        drawOverrides();
        $("add-override").focus();
      });
      return h("li", null, pattern, select, remove);
    }),
  );
}

/** Which pattern is it that the estimate failed on? Its message quotes it. */
function markPatterns() {
  const { message = "" } = state.estimateError ?? {};
  for (const input of $("overrides").querySelectorAll("input")) {
    const wrong = input.value !== "" && message.includes(JSON.stringify(input.value.trim()));
    input.setAttribute("aria-invalid", String(wrong));
  }
}

/** What the machine offers, beside the choice that it bears on. */
function drawProbe() {
  const { probe, settings, estimate } = state;
  if (!probe) return;
  const { webgpu, threads, storageBytes } = probe;
  const option = (value) => $("backend").querySelector(`[value=${value}]`);
  option("webgpu").disabled = webgpu === null;
  option("simd").disabled = !probe.simd;
  const gpu = webgpu === null ? "none here" : webgpu.vendor + (webgpu.fallback ? " (a software fallback)" : "");
  $("backend-note").textContent =
    `WebGPU: ${gpu}. CPU: ${probe.simd ? "SIMD128" : "no SIMD128"}, ${threads} ${threads === 1 ? "thread" : "threads"}.` +
    (settings.backend === "webgpu" && webgpu?.fallback ? " The CPU will be faster than this WebGPU." : "");
  const folders = "showDirectoryPicker" in window;
  $("sink").querySelector("[value=folder]").disabled = !folders;
  const tight = storageBytes !== null && estimate !== null && estimate.bytes > storageBytes;
  $("sink-note").textContent =
    storageBytes === null
      ? ""
      : `This browser offers ${bytes(storageBytes)}${tight ? ", which is less than the file needs" : ""}.` +
        (folders ? "" : " It cannot write to folders.");
  if (tight) $("advanced").open = true;
  $("environment").textContent =
    `Here: ${webgpu ? `WebGPU (${gpu})` : "no WebGPU"}, ${probe.simd ? "WASM SIMD128" : "no WASM SIMD"}, ${threads} threads` +
    (storageBytes === null ? "." : `, ${bytes(storageBytes)} of browser storage.`);
}

export function startScheme() {
  const form = $("scheme-form");
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("change", ({ target }) => {
    if (target.name === "scheme") set({ scheme: target.value });
    else if (target.name === "format") set({ format: target.value });
    else if (target.id === "pure") set({ pure: target.checked });
    else if (target.id === "backend") set({ backend: target.value });
    else if (target.id === "sink") set({ sink: target.value });
    else if (!takeAdvanced(target)) return;
    // A new choice shows its estimate; the results stay one press away.
    if (["scheme", "format", "pure"].includes(target.name || target.id) && !state.converting) update({ result: null });
  });
  $("add-override").addEventListener("click", () => {
    set({ overrides: [...state.settings.overrides, { match: "", scheme: "Q8_0" }] });
    drawOverrides();
    $("overrides").lastElementChild?.querySelector("input").focus();
  });
  $("pure").checked = state.settings.pure;
  $("backend").value = state.settings.backend;
  $("sink").value = state.settings.sink;
  watch(["schemes", "checkpoint", "settings", "imatrix"], drawSchemes);
  startAdvanced();
  watch(["schemes"], () => {
    drawFormats();
    drawOverrides();
    drawTypes(types());
  });
  watch(["checkpoint", "settings", "imatrix"], drawEstimate);
  watch(["estimate", "estimateError"], markPatterns);
  watch(["probe", "estimate", "settings"], drawProbe);
}
