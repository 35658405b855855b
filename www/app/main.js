/** The page: each part starts itself; they meet in state.js. */

import { startChat } from "./chat.js";
import { startConvert } from "./convert.js";
import { $ } from "./dom.js";
import { showError } from "./errors.js";
import { startResults } from "./results.js";
import { startScheme } from "./scheme.js";
import { startSource } from "./source.js";
import { engine, set, state, update } from "./state.js";

startScheme();
startConvert();
startResults();
startChat();
startSource();

// The one thing that lies over others closes like a menu.
const trust = document.querySelector("details.trust");
addEventListener("click", ({ target }) => {
  if (trust.open && !trust.contains(target)) trust.open = false;
});
addEventListener("keydown", ({ key }) => {
  if (key !== "Escape" || !trust.open) return;
  trust.open = false;
  trust.querySelector("summary").focus();
});

try {
  const { probe, schemes } = await engine();
  const [found, offered] = await Promise.all([probe(), schemes()]);
  const asked = new URLSearchParams(location.search).get("scheme");
  const names = offered.filter(({ format }) => format === state.settings.format).map(({ scheme }) => scheme);
  const scheme = [asked, state.settings.scheme, "Q4_0"].find((name) => names.includes(name)) ?? names[0];
  // What was remembered from another machine or version may not exist here.
  const backend = state.settings.backend === "webgpu" && !found.webgpu ? "auto" : state.settings.backend;
  update({ probe: found, schemes: offered });
  set({ scheme, backend });
  $("backend").value = backend;
} catch (error) {
  showError($("source-error"), error, "The engine did not start", () => location.reload());
}
