// How photos are added: dropped anywhere, pasted, chosen, or taken with the camera.
import { byId } from "./dom.js";

/** @param {(files: File[]) => void} take */
export function receive(take) {
  for (const [button, input] of [["choose", "file"], ["another", "file"], ["camera", "shoot"]]) {
    byId(button, HTMLButtonElement).addEventListener("click", () => byId(input, HTMLInputElement).click());
  }
  for (const input of ["file", "shoot"]) {
    const field = byId(input, HTMLInputElement);
    field.addEventListener("change", () => {
      take([...(field.files ?? [])]);
      field.value = ""; // so that the same file can be chosen again
    });
  }
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length) take(files);
  });
  receiveDrops(take);
}

/** @param {(files: File[]) => void} take */
function receiveDrops(take) {
  const veil = byId("veil", HTMLElement);
  const hasFiles = (/** @type {DragEvent} */ event) => event.dataTransfer?.types.includes("Files") ?? false;
  document.addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    veil.hidden = false;
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) veil.hidden = true;
  });
  document.addEventListener("drop", (event) => {
    veil.hidden = true;
    if (!hasFiles(event)) return;
    event.preventDefault();
    take([...(event.dataTransfer?.files ?? [])]);
  });
}
