// The list of an order's photos: the state of each, and which are chosen.
import { $, h, write } from "./dom.js";
import { bytes, photos } from "./format.js";

const STATES = {
  ready: ["", "Ready"],
  processing: ["busy", "Being enhanced"],
  waiting: ["busy", "Not uploaded yet"],
  unknown: ["busy", "Being enhanced"],
  failed: ["bad", "Could not be enhanced"],
  expired: ["bad", "Expired"],
};

export class PhotoList {
  #rows = new Map();
  #images = [];
  #onChange;

  constructor(onChange) {
    this.#onChange = onChange;
    $("photo-list").addEventListener("change", () => this.#changed());
    $("all").addEventListener("change", (event) => {
      for (const row of this.#rows.values()) row.box.checked = event.target.checked;
      this.#changed();
    });
  }

  /** Show the images of an overview. Ticks survive; a new order begins with all of them ticked. */
  show(images, isNew) {
    if (isNew) this.#rows.clear();
    this.#images = images;
    const rows = images.map((image) => this.#row(image));
    const list = $("photo-list");
    const same = rows.length === list.children.length && rows.every((row, at) => row.item === list.children[at]);
    if (!same) list.replaceChildren(...rows.map((row) => row.item));
    for (const image of images) this.#state(image.image_id, ...describe(image));
    this.#summarise();
  }

  /** The images that are ticked. */
  get chosen() {
    return this.#images.filter((image) => this.#rows.get(image.image_id)?.box.checked);
  }

  /** Ids for the query: none when all are ticked. */
  get chosenIds() {
    const chosen = this.chosen;
    return chosen.length === this.#images.length ? [] : chosen.map((image) => image.image_id);
  }

  /** While a download runs, rows show its progress: `settled` are lines of its report, `other` is the text for the rest. */
  progress(settled, other = "Waiting") {
    const known = new Map(settled.map((line) => [line.image_id, line]));
    for (const image of this.chosen) {
      const line = known.get(image.image_id);
      if (!line) this.#state(image.image_id, "", other);
      else if (line.outcome === "downloaded") this.#state(image.image_id, "done", bytes(line.bytes));
      else this.#state(image.image_id, "bad", "Failed");
    }
  }

  /** Ticks cannot be changed while a download runs. */
  set isRunning(running) {
    $("photos").disabled = running;
    $("photos").classList.toggle("is-running", running);
    for (const row of this.#rows.values()) row.item.dataset.in = String(row.box.checked);
  }

  #row(image) {
    let row = this.#rows.get(image.image_id);
    if (!row) {
      const box = h("input", { type: "checkbox" });
      box.checked = true;
      const name = h("span", { class: "photo-name" });
      const state = h("span", { class: "photo-state" });
      row = { box, name, state, item: h("li", {}, h("label", {}, box, name, state)) };
      this.#rows.set(image.image_id, row);
    }
    write(row.name, image.file_name);
    row.name.title = image.name;
    return row;
  }

  #state(imageId, kind, words) {
    const row = this.#rows.get(imageId);
    row.item.dataset.state = kind;
    write(row.state, words);
  }

  #changed() {
    this.#summarise();
    this.#onChange();
  }

  #summarise() {
    const chosen = this.chosen;
    const all = chosen.length === this.#images.length;
    $("all").checked = all;
    $("all").indeterminate = !all && chosen.length > 0;
    write($("all-label"), all ? `All ${photos(chosen.length)}` : `${chosen.length} of ${photos(this.#images.length)}`);
    const here = chosen.filter((image) => image.bytes !== null);
    const size = here.reduce((sum, image) => sum + image.bytes, 0);
    write($("photos-size"), here.length ? `${here.length} already stored, ${bytes(size)}` : "");
  }
}

function describe(image) {
  const [kind, words] = STATES[image.status] ?? STATES.unknown;
  return [kind, image.status === "ready" && image.bytes !== null ? `Ready, ${bytes(image.bytes)}` : words];
}
