// The photos of an order: a picture and the state of each, and which are chosen. As a grid, or as a list of names.
import { base } from "./api.js";
import { $, h, write } from "./dom.js";
import { bytes, photos } from "./format.js";
import { Lightbox } from "./lightbox.js";

const STATES = {
  ready: ["", ""],
  processing: ["busy", "Being enhanced"],
  waiting: ["bad", "Never uploaded"],
  unknown: ["busy", "Being enhanced"],
  failed: ["bad", "Could not be enhanced"],
  expired: ["bad", "No longer at Autoenhance"],
};
const VIEW = "photos-as-list";

export class PhotoList {
  #orderId = "";
  #rows = new Map();
  #images = [];
  #lightbox = new Lightbox();
  #isRunning = false;
  #hooks;

  /** Hooks: `onChange()` of what is chosen, `saving()`: the query and the words with which one photo is saved. */
  constructor(hooks) {
    this.#hooks = hooks;
    $("photo-list").addEventListener("change", () => this.#changed());
    $("photo-list").addEventListener("click", (event) => this.#clicked(event));
    $("all").addEventListener("change", (event) => {
      for (const row of this.#rows.values()) row.box.checked = event.target.checked;
      this.#changed();
    });
    $("view").addEventListener("click", () => this.#view($("view").getAttribute("aria-pressed") !== "true"));
    this.#view(remembered() === "true");
  }

  /** Show the images of an overview. Ticks survive; a new order begins with all of them ticked. */
  show({ order_id: orderId, images, failures }, isNew) {
    if (isNew) this.#rows.clear();
    this.#orderId = orderId;
    this.#images = images;
    const reasons = new Map(failures.map((failure) => [failure.image_id, failure.reason]));
    const rows = images.map((image) => this.#row(image));
    const list = $("photo-list");
    const same = rows.length === list.children.length && rows.every((row, at) => row.item === list.children[at]);
    if (!same) list.replaceChildren(...rows.map((row) => row.item));
    for (const image of images) {
      this.#state(image.image_id, ...(STATES[image.status] ?? STATES.unknown));
      this.#picture(image, reasons.get(image.image_id) ?? "");
    }
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
    const known = new Map();
    for (const line of settled) if (known.get(line.image_id)?.outcome !== "failed") known.set(line.image_id, line);
    for (const image of this.chosen) {
      const line = known.get(image.image_id);
      if (!line) this.#state(image.image_id, "", other);
      else if (line.outcome === "downloaded") this.#state(image.image_id, "done", "In the ZIP");
      else this.#state(image.image_id, "bad", "Failed");
    }
  }

  /** Ticks cannot be changed while a download runs. */
  set isRunning(running) {
    this.#isRunning = running;
    $("all").disabled = running;
    $("photos").classList.toggle("is-running", running);
    for (const row of this.#rows.values()) {
      row.box.disabled = running;
      row.item.dataset.in = String(row.box.checked);
    }
  }

  #row(image) {
    let row = this.#rows.get(image.image_id);
    if (!row) {
      const box = h("input", { type: "checkbox" });
      box.checked = true;
      box.disabled = this.#isRunning;
      const name = h("span", { class: "photo-name" });
      const state = h("span", { class: "photo-state" });
      const why = h("span", { class: "photo-why" });
      const open = h("button", { type: "button", class: "photo-open", "data-id": image.image_id });
      row = { box, name, state, why, open, img: null, item: h("li", {}, open, h("label", {}, box, name), state) };
      this.#rows.set(image.image_id, row);
    }
    write(row.name, image.file_name);
    row.name.title = image.name;
    return row;
  }

  /** The picture of a photo that is ready; of any other why there is none. */
  #picture(image, reason) {
    const row = this.#rows.get(image.image_id);
    const isReady = image.status === "ready";
    row.open.disabled = !isReady;
    if (isReady) row.open.setAttribute("aria-label", `Look at ${image.file_name}`);
    else row.open.removeAttribute("aria-label"); // it says why there is no picture
    if (isReady && !row.img) {
      row.img = h("img", { alt: "", width: 480, height: 320, loading: "lazy", decoding: "async", src: this.#address(image, "preview=true&max_width=480") });
      row.img.addEventListener("error", () => { row.item.dataset.picture = "none"; });
      row.img.addEventListener("load", () => { row.item.dataset.picture = "here"; });
      row.open.replaceChildren(row.img);
    } else if (!isReady) {
      row.img = null;
      delete row.item.dataset.picture;
      write(row.why, reason || "No picture yet");
      row.open.replaceChildren(row.why);
    }
  }

  #address(image, query) {
    return `${base}/v1/orders/${this.#orderId}/images/${encodeURIComponent(image.image_id)}?${query}`;
  }

  #state(imageId, kind, words) {
    const row = this.#rows.get(imageId);
    row.item.dataset.state = kind;
    write(row.state, words);
  }

  #clicked(event) {
    const open = event.target.closest(".photo-open");
    if (!open) return;
    const ready = this.#images.filter((image) => image.status === "ready");
    const { query, words } = this.#hooks.saving();
    const items = ready.map((image) => {
      const { box } = this.#rows.get(image.image_id);
      return {
        name: image.file_name,
        small: this.#address(image, "preview=true&max_width=480"),
        large: this.#address(image, "preview=true"),
        before: this.#address(image, "include=original&preview=true"),
        save: this.#address(image, `${query}${query && "&"}download=true`),
        saveWords: words,
        box: this.#isRunning ? null : box,
        onTick: () => this.#changed(),
      };
    });
    this.#lightbox.open(items, ready.findIndex((image) => image.image_id === open.dataset.id));
  }

  #view(isList) {
    $("photo-list").className = isList ? "list" : "grid";
    $("view").setAttribute("aria-pressed", String(isList));
    try {
      localStorage.setItem(VIEW, String(isList));
    } catch {
      // Nothing can be kept in this browser.
    }
  }

  #changed() {
    this.#summarise();
    this.#hooks.onChange();
  }

  #summarise() {
    const chosen = this.chosen;
    const all = chosen.length === this.#images.length;
    $("all").checked = all;
    $("all").indeterminate = !all && chosen.length > 0;
    write($("all-label"), all ? `All ${photos(chosen.length)}` : `${chosen.length} of ${photos(this.#images.length)}`);
    const here = chosen.filter((image) => image.bytes !== null);
    const size = here.reduce((sum, image) => sum + image.bytes, 0);
    write($("photos-size"), here.length === chosen.length && here.length ? `${bytes(size)} in all` : "");
  }
}

function remembered() {
  try {
    return localStorage.getItem(VIEW);
  } catch {
    return null;
  }
}
