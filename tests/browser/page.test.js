// The page on the demo checkpoint, in a real Chromium: convert, save, chat, by pointer and by keyboard.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { launch } from "./chromium.js";
import { ask, openPage, quantize } from "./page-harness.js";
import { ROOT, startServer } from "./server.js";

let server;
before(async () => {
  server = await startServer();
});
after(() => server.close());

for (const mode of /** @type {const} */ (["no-webgpu", "webgpu"])) {
  describe(`the page, ${mode}`, () => {
    let browser;
    before(async () => {
      browser = await launch(mode);
    });
    after(() => browser.close());

    test("opens on the demo with its figures and every scheme's size", async () => {
      const { page, requests, close } = await openPage(browser, server);
      assert.equal(await page.locator("#checkpoint-name").textContent(), "The bundled demo");
      assert.match(await page.locator("#checkpoint-figures").textContent(), /Layers\d+/);
      const sizes = await page
        .locator("#schemes label.scheme")
        .evaluateAll((rows) =>
          rows.map((row) => [
            row.querySelector("input").value,
            row.querySelector(".scheme-size").textContent,
            row.querySelector(".size-bar").getBoundingClientRect().width,
          ]),
        );
      const widths = Object.fromEntries(sizes.map(([scheme, , width]) => [scheme, width]));
      for (const scheme of ["F32", "F16", "BF16", "Q8_0", "Q6_K", "Q4_0"]) assert.ok(widths[scheme] > 0, scheme);
      assert.ok(widths.Q4_0 < widths.Q6_K && widths.Q6_K < widths.Q8_0 && widths.Q8_0 < widths.F16);
      for (const [scheme, size] of sizes) {
        // That one has no size until there is an importance matrix.
        assert.match(size, scheme === "Q2_K_S" ? /^–$/ : /^[\d.]+\s(kB|MB)$/, scheme);
      }
      // The few that are worth trying first stand open, all others under their groups.
      const seen = await page.locator("#schemes label.scheme:visible").count();
      assert.ok(seen >= 5 && seen <= 9 && sizes.length > 20, `${seen} of ${sizes.length}`);
      await page.locator("#schemes summary", { hasText: "K-quants" }).click();
      await page.locator('#schemes input[value="Q4_K_S"]').check();
      assert.equal(await page.locator("#quantize").textContent(), "Quantize to Q4_K_S");
      assert.ok(requests.some((request) => request.url().endsWith("/models/demo/config.json")));
      await close();
    });

    test("converts the demo, draws every tensor's error, saves what the API makes", async () => {
      const { page, close } = await openPage(browser, server);
      await quantize(page, "Q4_0");
      const cells = await page
        .locator("#heatmap .cell")
        .evaluateAll((all) => all.map((cell) => [cell.dataset.step, cell.getAttribute("aria-label")]));
      assert.ok(cells.length > 10);
      for (const [step, label] of cells) {
        assert.match(step, /^([0-7]|exact)$/, label);
        assert.match(label, /relative error [\d.]+.%|kept exactly/);
      }
      assert.match(await page.locator("#output").textContent(), /of the original/);

      const [download] = await Promise.all([page.waitForEvent("download"), page.locator("#save").click()]);
      assert.match(download.suggestedFilename(), /\.gguf$/);
      const saved = await readFile(await download.path());
      assert.equal(saved.subarray(0, 4).toString("latin1"), "GGUF");
      const sha256 = createHash("sha256").update(saved).digest("hex");
      assert.equal((await page.locator(".sha").textContent()).replace("sha256 ", ""), sha256);
      const direct = await page.evaluate(async () => {
        const { openCheckpoint } = await import("/engine/index.js");
        const checkpoint = await openCheckpoint(new URL("/models/demo/", location.href).href);
        const result = await checkpoint.quantize({ format: "gguf", scheme: "Q4_0", backend: "simd", sink: "memory" });
        return result.files[0];
      });
      assert.equal(direct.sha256, sha256);
      assert.equal(direct.bytes, saved.length);
      await close();
    });

    test("chats with the original, then with the result, then with both", async () => {
      const { page, close } = await openPage(browser, server);
      const original = await ask(page, "What is GGUF?");
      assert.ok(original.length > 3, original);
      assert.match(await page.locator("#log .stats").last().textContent(), /\d+ → \d+ tokens.*decode\s[\d,.]+\stok\/s/);
      await quantize(page, "Q8_0");
      await page.locator("#chat-with").click();
      assert.equal(await page.locator("#model option:checked").textContent(), "Q8_0");
      await page.locator("#new-chat").click();
      assert.equal(await page.locator("#log .turn").count(), 0);
      assert.equal(await ask(page, "What is GGUF?"), original, "Q8_0 is near enough to answer alike");
      await page.locator("#compare").check();
      await ask(page, "What is INT4?");
      assert.equal(await page.locator("#log .turn").last().locator(".answer").count(), 2);
      await close();
    });
  });
}

describe("the page", () => {
  let browser;
  before(async () => {
    browser = await launch();
  });
  after(() => browser.close());

  test("works by keyboard alone", async () => {
    const { page, close } = await openPage(browser, server);
    const focused = () => page.evaluate(() => document.activeElement.id || document.activeElement.value);
    const tabTo = async (wanted) => {
      for (let presses = 0; presses < 40; presses++) {
        await page.keyboard.press("Tab");
        if ((await focused()) === wanted) return;
      }
      assert.fail(`Tab does not reach ${wanted}`);
    };
    await tabTo("Q4_0");
    for (const next of ["Q4_K_M", "Q5_K_M", "Q6_K"]) {
      await page.keyboard.press("ArrowUp");
      assert.equal(await focused(), next);
    }
    await tabTo("quantize");
    const ring = await page.locator("#quantize").evaluate((button) => getComputedStyle(button).outlineStyle);
    assert.equal(ring, "solid", "the focus is visible");
    await page.keyboard.press("Enter");
    await page.waitForFunction(() => document.activeElement.id === "save");

    // The picture is one tab stop; arrows walk it and the line below follows.
    for (let presses = 0; presses < 10; presses++) {
      await page.keyboard.press("Tab");
      if (await page.evaluate(() => document.activeElement.classList.contains("cell"))) break;
    }
    await page.keyboard.press("ArrowDown");
    const label = await page.evaluate(() => document.activeElement.getAttribute("aria-label"));
    assert.match(label, /Q6_K.*relative error/);
    assert.match(await page.locator(".readout").textContent(), /Q6_K.*rmse/);

    await tabTo("prompt");
    await page.keyboard.type("What is GGUF?");
    await page.keyboard.press("Enter");
    await page.locator("#log .stats:not(:empty)").waitFor();
    assert.equal(await focused(), "prompt");
    await close();
  });

  test("stops an answer and keeps the conversation", async () => {
    const { page, close } = await openPage(browser, server);
    const first = await ask(page, "What is GGUF?");
    // Stop is pressed as soon as the answer has begun: the demo is done in an instant.
    await page.evaluate(() => {
      new MutationObserver((_, observer) => {
        const text = document.querySelectorAll("#log .text")[1]?.textContent;
        if (!text) return;
        observer.disconnect();
        document.getElementById("send").click();
      }).observe(document.getElementById("log"), { childList: true, subtree: true });
    });
    await page.locator("#prompt").fill("What is GGUF?");
    await page.locator("#prompt").press("Enter");
    await page.locator("#log .turn:nth-child(3) .stats", { hasText: "stopped" }).waitFor();
    const second = await page.locator("#log .text").nth(1).textContent();
    assert.ok(second.length > 0 && second.length < first.length, second);
    await page.waitForFunction(() => document.getElementById("send").textContent === "Send");
    assert.equal(await page.locator("#log .turn").count(), 2);
    assert.equal(await page.locator("#chat-error .error").count(), 0);
    assert.ok((await ask(page, "What is GGUF?")).length > 0, "the model is still there");
    await close();
  });

  test("remembers settings, and keeps results while another scheme is tried", async () => {
    const { page, close } = await openPage(browser, server);
    await quantize(page, "Q8_0");
    await page.locator('#schemes input[value="Q4_0"]').check();
    assert.equal(await page.locator("#quantize").textContent(), "Quantize to Q4_0");
    await page.locator("#quantize").click();
    await page.locator("#save").waitFor();
    const strip = page.locator("#results button");
    assert.deepEqual(await strip.allTextContents(), ["Estimate", "Q8_0", "Q4_0"]);
    await strip.nth(1).click();
    assert.match(await page.locator(".file-name").textContent(), /Q8_0/);
    await page.locator("#discard").click();
    assert.deepEqual(await strip.allTextContents(), ["Estimate", "Q4_0"]);
    await page.reload();
    await page.locator("#quantize:enabled").waitFor();
    assert.equal(await page.locator("#schemes input:checked").getAttribute("value"), "Q4_0");
    await close();
  });

  test("chooses the best scheme for a size, takes an importance matrix, and cuts files", async () => {
    const { page, close } = await openPage(browser, server);
    await page.locator("#fit-size").fill("3.2");
    await page.locator("#fit-unit").selectOption({ label: "MB" });
    await page.locator("#fit").click();
    await page.locator("#fit-note", { hasText: "weights off by about" }).waitFor();
    const chosen = await page.locator("#schemes input:checked").getAttribute("value");
    assert.match(
      await page.locator("#fit-note").textContent(),
      new RegExp(`^${chosen}: [\\d.]+\\sMB, weights off by about`),
    );
    await page.locator("#fit-size").fill("0.01");
    await page.locator("#fit").click();
    await page.locator("#fit-note", { hasText: "the smallest is" }).waitFor();

    await page.locator("#advanced summary").click();
    // Of another model: said beside the estimate, before anything is converted.
    await page.locator("#imatrix").setInputFiles(join(ROOT, "tests/fixtures/gguf/phi4/imatrix.gguf"));
    await page.locator("#imatrix-note", { hasText: "imatrix.gguf: importance of" }).waitFor();
    await page.locator("#headline-note", { hasText: "another model" }).waitFor();
    assert.ok(await page.locator("#quantize").isDisabled());
    await page.locator("#imatrix-clear").click();
    await page.locator("#imatrix").setInputFiles(join(ROOT, "tests/fixtures/gguf/phi4/config.json"));
    await page.locator("#imatrix-note", { hasText: "importance matrix" }).waitFor();

    await page.locator("#split").selectOption({ label: "of 100 MB" });
    await page.locator("#output-type").selectOption("F16");
    await quantize(page, "Q4_0");
    assert.equal(await page.locator("#result-files li").count(), 1, "what fits stays one file");
    await close();
  });

  test("overrides change the estimate, and a wrong pattern says so", async () => {
    const { page, close } = await openPage(browser, server);
    await page.locator("#advanced summary").click();
    const before = await page.locator("#headline-note").textContent();
    await page.locator("#add-override").click();
    await page.locator("#overrides input").fill("lm_head");
    await page.locator("#overrides select").selectOption("F32");
    await page.waitForFunction((old) => document.getElementById("headline-note").textContent !== old, before);
    await page.locator("#overrides input").fill("(");
    await page.locator("#overrides input").blur();
    await page.locator("#quantize:disabled").waitFor();
    assert.equal(await page.locator("#overrides input").getAttribute("aria-invalid"), "true");
    assert.notEqual(await page.locator("#headline-note").textContent(), "");
    await page.locator("#overrides button").click();
    await page.locator("#quantize:enabled").waitFor();
    assert.equal(await page.locator("#headline-note").textContent(), before);
    await close();
  });
});
