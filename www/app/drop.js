/** Files from the disk: pickers, and drag and drop anywhere on the page. */

import { $, show } from "./dom.js";

/** What a checkpoint is made of; a folder from the Hub also holds pictures, code and other frameworks' weights. */
const WANTED = /\.(safetensors|json|gguf|model|txt|jinja)$/i;

/** Every file under an entry of the (old, universal) drag and drop file system. */
async function filesUnder(entry) {
  if (entry.isFile) return [await new Promise((resolve, reject) => entry.file(resolve, reject))];
  const reader = entry.createReader();
  const files = [];
  // readEntries gives at most 100 at a time, and an empty list at the end.
  for (;;) {
    const entries = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (entries.length === 0) return files;
    for (const each of entries) if (!each.name.startsWith(".")) files.push(...(await filesUnder(each)));
  }
}

/** The files of a drop, folders opened. Must be called before the event's handler returns: the items die with it. */
async function dropped(transfer) {
  const items = [...transfer.items].filter((item) => item.kind === "file");
  const found = items.map((item) => item.webkitGetAsEntry?.() ?? item.getAsFile());
  const files = [];
  for (const each of found) {
    if (each instanceof File) files.push(each);
    else if (each) files.push(...(await filesUnder(each)));
  }
  return files;
}

/** The folder's or the files' common name, for the title. */
function nameOf(files) {
  const folder = files[0].webkitRelativePath?.split("/")[0];
  return (
    folder || (files.length === 1 ? files[0].name : files.find((file) => /safetensors|gguf/.test(file.name))?.name)
  );
}

/** @param {(files: File[], name: string) => void} open */
export function listenForFiles(open) {
  const take = (list) => {
    const files = [...list];
    const wanted = files.filter((file) => WANTED.test(file.name));
    if (files.length > 0)
      open(wanted.length > 0 ? wanted : files, nameOf(wanted.length > 0 ? wanted : files) ?? "files");
  };

  for (const id of ["files", "folder"]) {
    $(id).addEventListener("change", () => {
      take($(id).files);
      // The same choice again must be a change again.
      $(id).value = "";
    });
  }

  const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
  let depth = 0;
  addEventListener("dragenter", (event) => {
    if (!carriesFiles(event)) return;
    depth += 1;
    show($("drop"), true);
  });
  addEventListener("dragleave", (event) => {
    if (!carriesFiles(event)) return;
    depth = Math.max(0, depth - 1);
    if (depth === 0) show($("drop"), false);
  });
  addEventListener("dragover", (event) => {
    if (carriesFiles(event)) event.preventDefault();
  });
  addEventListener("drop", async (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    depth = 0;
    show($("drop"), false);
    take(await dropped(event.dataTransfer));
  });
}
