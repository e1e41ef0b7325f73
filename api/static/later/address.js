// A photo from an address, where the service fetches one: a field beside the other ways, and links that are pasted or dropped.
import { byId, make } from "../studio/dom.js";
import { translate } from "../studio/words.js";

/** @typedef {{address: string, name: string}} Link */
/** @typedef {(links: Link[]) => void} Take */

/** @param {string} text @returns {Link[]} */
const linksIn = (text) => text.split(/\s+/).filter((word) => /^https?:/.test(word) && URL.canParse(word))
  .map((address) => ({ address, name: nameOf(address) }));

/** The file's own name, or else the site's. @param {string} address */
function nameOf(address) {
  const { hostname, pathname } = new URL(address);
  const last = pathname.split("/").pop() ?? "";
  try {
    return decodeURIComponent(last) || hostname;
  } catch {
    return last; // a stray percent sign
  }
}

/** @param {Take} take */
export function offerAddress(take) {
  if (document.getElementById("address-form")) return;
  const field = make("input", { type: "url", id: "address", placeholder: "https://", required: true });
  const label = make("label", {}, make("span", { className: "fine", data: { say: "address" } }), field);
  const form = make("form", { id: "address-form", className: "ways" }, label, make("button", { type: "submit", data: { say: "fetch" } }));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    take(linksIn(field.value));
    field.value = "";
  });
  byId("choose", HTMLElement).closest(".ways")?.after(form);
  translate(form);
  takePasted(take);
  takeDropped(take);
}

/** @param {Take} take */
function takePasted(take) {
  document.addEventListener("paste", (event) => {
    const isWriting = event.target instanceof HTMLElement && event.target.matches("input, textarea");
    const links = linksIn(event.clipboardData?.getData("text/plain") ?? "");
    if (isWriting || event.clipboardData?.files.length || !links.length) return;
    event.preventDefault();
    take(links);
  });
}

/** A picture or link of another page, which browsers hand over without its file. @param {Take} take */
function takeDropped(take) {
  const hasLink = (/** @type {DragEvent} */ { dataTransfer }) =>
    Boolean(dataTransfer?.types.includes("text/uri-list") && !dataTransfer.types.includes("Files"));
  document.addEventListener("dragover", (event) => { if (hasLink(event)) event.preventDefault(); });
  document.addEventListener("drop", (event) => {
    const links = hasLink(event) ? linksIn(event.dataTransfer?.getData("text/uri-list") ?? "") : [];
    if (!links.length) return;
    event.preventDefault();
    take(links);
  });
}
