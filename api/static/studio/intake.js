// How photos are added: dropped anywhere, pasted, chosen, or taken with the camera.
import { toast } from "./announce.js";
import { byId } from "./dom.js";
import { say } from "./words.js";

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
  byId("camera", HTMLElement).hidden = !opensCamera();
  const paste = byId("paste", HTMLButtonElement);
  paste.hidden = !navigator.clipboard?.read;
  paste.addEventListener("click", async () => {
    const files = await pasted().catch(() => []);
    if (files.length) take(files);
    else if (!(await isTextTaken())) toast(say("not_pasted"));
  });
  receiveDrops(take);
}

/** Elsewhere `capture` opens the same dialog as "Choose photos". */
function opensCamera() {
  const { userAgentData } = /** @type {any} */ (navigator);
  return userAgentData?.mobile ?? /Android|iPhone|iPad/.test(navigator.userAgent);
}

/** Pictures of the clipboard, without the keyboard. */
async function pasted() {
  const found = await navigator.clipboard.read();
  const pictures = found.flatMap((item) => item.types.filter((type) => type.startsWith("image/")).slice(0, 1).map((type) => ({ item, type })));
  return Promise.all(pictures.map(async ({ item, type }) => {
    const name = `${say("paste")}.${type.slice("image/".length)}`;
    return new File([await item.getType(type)], name, { type });
  }));
}

/** Text may be the address of a photo, where the service fetches those. */
async function isTextTaken() {
  const clipboardData = new DataTransfer();
  clipboardData.setData("text/plain", await navigator.clipboard.readText().catch(() => ""));
  return !document.dispatchEvent(new ClipboardEvent("paste", { clipboardData, cancelable: true }));
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
