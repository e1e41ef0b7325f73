// Where nothing was found to mend: three treatments, tried on this photo all the same.
import { byId } from "../studio/dom.js";
import { treatments } from "../studio/treatments.js";
import { Trials } from "../studio/trials.js";
import { say } from "../studio/words.js";

const trials = new Trials();
const COUNT = 3;

/** @param {import("../studio/shot.js").Shot} shot @param {{x: number, y: number}} spot @param {(name: string) => void} pick */
export async function offerTreatments(shot, spot, pick) {
  const { button, showMeanwhile } = await import("./grid.js");
  const list = treatments();
  const all = (list.items ?? []).filter((item) => item.state === "available").sort((a, b) => b.treats.length - a.treats.length);
  const items = [all[0], ...list.specials.map(({ item }) => item)].filter((item, place, every) => item && every.indexOf(item) === place).slice(0, COUNT);
  const kind = (/** @type {string} */ name) => list.specials.find((one) => one.item.name === name)?.kind;
  const nodes = new Map(items.map((item) => [item.name, button(kind(item.name) ? say(`kind_${kind(item.name)}`) : item.title, () => pick(item.name))]));
  const box = byId("offers", HTMLElement);
  box.replaceChildren(...[...nodes.values()].map(({ node }) => node));
  box.hidden = items.length === 0;
  showMeanwhile(shot, spot, nodes.values());
  trials.stop();
  const wanted = items.map((item) => ({ key: item.name, lora: [`${item.name}:${item.default_scale}`], strength: item.strength ?? 0.4 }));
  trials.run(shot, wanted, spot, (key, picture) => nodes.get(key)?.show(picture));
}
