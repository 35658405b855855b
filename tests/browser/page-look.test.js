// What can be checked of the look without eyes: widths, sizes of targets, contrast in both themes, names of controls.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch } from "./chromium.js";
import { ask, assertNoSidewaysScroll, openPage, quantize } from "./page-harness.js";
import { startServer } from "./server.js";

let browser;
let server;
before(async () => {
  [browser, server] = await Promise.all([launch(), startServer()]);
});
after(async () => {
  await browser.close();
  await server.close();
});

/** Opens everything that opens. */
const unfold = (page) =>
  page.evaluate(() => {
    for (const details of document.querySelectorAll("details")) details.open = true;
  });

test("fits a phone of 360 pixels, and its controls fit a finger", async () => {
  const { page, close } = await openPage(browser, server, {
    viewport: { width: 360, height: 740 },
    hasTouch: true,
    isMobile: true,
  });
  await assertNoSidewaysScroll(page);
  await page.locator("#schemes input").first().waitFor();
  await quantize(page, "Q4_0");
  await ask(page, "What is GGUF?");
  await page.locator("#compare").check();
  await unfold(page);
  await page.locator("#add-override").click();
  await assertNoSidewaysScroll(page);
  const small = await page.evaluate(() =>
    [...document.querySelectorAll("button, select, textarea, summary, input, .button-like, label.scheme, label.check")]
      .filter((element) => element.checkVisibility() && !element.classList.contains("visually-hidden"))
      // A radio button or a checkbox is pressed by its label.
      .filter((element) => !["radio", "checkbox"].includes(element.type))
      .map((element) => [element.id || element.textContent, element.getBoundingClientRect()])
      .filter(([, box]) => box.height < 40 || box.width < 40)
      .map(([name, box]) => `${name}: ${box.width} × ${box.height}`),
  );
  assert.deepEqual(small, []);
  await close();
});

test("fits a tablet", async () => {
  const { page, close } = await openPage(browser, server, { viewport: { width: 768, height: 1024 } });
  await quantize(page, "Q4_0");
  await unfold(page);
  await assertNoSidewaysScroll(page);
  await close();
});

/** Every visible text's contrast against what is painted behind it (WCAG 2, relative luminance). */
const contrasts = (page) =>
  page.evaluate(() => {
    const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
    const rgba = (colour) => {
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = colour;
      canvas.fillRect(0, 0, 1, 1);
      return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const luminance = ([r, g, b]) => {
      const [x, y, z] = [r, g, b].map((value) => {
        const part = value / 255;
        return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
      });
      return 0.2126 * x + 0.7152 * y + 0.0722 * z;
    };
    const backdrop = (element) => {
      for (let at = element; at; at = at.parentElement) {
        const colour = rgba(getComputedStyle(at).backgroundColor);
        if (colour[3] === 255) return colour;
      }
      return [255, 255, 255, 255];
    };
    const bad = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      const element = node.parentElement;
      if (
        !node.textContent.trim() ||
        !element.checkVisibility() ||
        element.closest(".visually-hidden, :disabled, option")
      )
        continue;
      const style = getComputedStyle(element);
      if (Number.parseFloat(style.fontSize) === 0) continue;
      const [one, two] = [luminance(rgba(style.color)), luminance(backdrop(element))].sort((a, b) => b - a);
      const ratio = (one + 0.05) / (two + 0.05);
      const large = Number.parseFloat(style.fontSize) >= 24;
      if (ratio < (large ? 3 : 4.5))
        bad.push(`${node.textContent.trim().slice(0, 40)} (${element.className}): ${ratio.toFixed(2)}`);
    }
    return bad;
  });

for (const colorScheme of /** @type {const} */ (["light", "dark"])) {
  test(`is legible in ${colorScheme}`, async () => {
    const { page, close } = await openPage(browser, server, { colorScheme });
    const paper = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const [red] = paper.match(/\d+/g).map(Number);
    assert.ok(colorScheme === "dark" ? red < 64 : red > 224, paper);
    await quantize(page, "Q4_0");
    await ask(page, "What is GGUF?");
    await unfold(page);
    assert.deepEqual(await contrasts(page), []);
    await close();
  });
}

test("every control has a name, every id is there once, and the headings step down by one", async () => {
  const { page, close } = await openPage(browser, server);
  await quantize(page, "Q4_0");
  await unfold(page);
  await page.locator("#add-override").click();
  const found = await page.evaluate(() => {
    const nameless = [...document.querySelectorAll("button, input, select, textarea, summary")].filter(
      (control) =>
        !control.textContent.trim() &&
        !control.getAttribute("aria-label") &&
        !(control.labels && control.labels.length > 0),
    );
    const ids = [...document.querySelectorAll("[id]")].map(({ id }) => id);
    const levels = [...document.querySelectorAll("h1, h2, h3, h4")].map(({ tagName }) => Number(tagName[1]));
    return {
      nameless: nameless.map((control) => control.outerHTML),
      twice: ids.filter((id, at) => ids.indexOf(id) !== at),
      leaps: levels.filter((level, at) => at > 0 && level > levels[at - 1] + 1),
    };
  });
  assert.deepEqual(found, { nameless: [], twice: [], leaps: [] });
  await close();
});

test("stands still for those who want no motion", async () => {
  const { page, close } = await openPage(browser, server, { reducedMotion: "reduce" });
  const moving = await page.evaluate(
    () =>
      [...document.querySelectorAll("*")].filter((element) => getComputedStyle(element).transitionDuration !== "0s")
        .length,
  );
  assert.equal(moving, 0);
  await close();
});
