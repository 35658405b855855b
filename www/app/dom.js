/** The few helpers that the page needs instead of a framework. */

import { h } from "../embed/h.js";

export { h };

/** @param {string} id @returns {any} the element with that id; it is in index.html, so it exists */
export const $ = (id) => document.getElementById(id);

/** Fills a `<dl>`: each pair is a term and what it says; pairs without a value are left out. */
export function figures(list, pairs) {
  list.replaceChildren(
    ...pairs
      .filter(([, value]) => value !== null && value !== undefined && value !== "")
      .map(([term, value, title]) => h("div", { title }, h("dt", null, term), h("dd", null, value))),
  );
}

/** Shows or hides, and says whether it changed anything. */
export function show(element, visible) {
  if (element.hidden !== visible) return false;
  element.hidden = !visible;
  return true;
}

let said = 0;
let waiting = 0;

/**
 * Tells a screen reader, politely. Progress passes `every`, so that it speaks at most once in that many milliseconds;
 * what matters passes none and takes the place of what waits.
 */
export function announce(text, every = 0) {
  const now = performance.now();
  if (every > 0 && now - said < every) return;
  said = now;
  clearTimeout(waiting);
  // The same words twice are no change, and would not be spoken: clear first.
  $("live").textContent = "";
  waiting = setTimeout(() => ($("live").textContent = text), 50);
}

/** Runs `work` once per frame, however often it is asked for. */
export function eachFrame(work) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      work();
    });
  };
}
