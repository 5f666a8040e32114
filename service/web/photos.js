// The photos of an order: a picture and the state of each, and which are chosen. As a grid, or as a list of names.
import { base } from "./api.js";
import { $, h, write } from "./dom.js";
import { bytes, photos } from "./format.js";
import { Lightbox } from "./lightbox.js";
import { keep, kept } from "./storage.js";

const STATES = {
  ready: ["", ""],
  processing: ["busy", "Being enhanced"],
  waiting: ["bad", "Never uploaded"],
  unknown: ["busy", "Being enhanced"],
  failed: ["bad", "Could not be enhanced"],
  expired: ["bad", "No longer at Autoenhance"],
};
const NEVER_UPLOADED = "It never arrived at Autoenhance. Upload it there, then look again.";
const LOST = new Set(["waiting", "failed", "expired"]); // there is nothing to choose
const VIEW = "photos-as-list";
const SHARE = 24; // photos placed at a time: about what a screen holds
const EAGER = 4; // whose pictures do not wait until the layout tells that they are in sight
const SMALL = "preview=true&max_width=480"; // early.js begins with these

const TILE = h("li", {}, h("button", { type: "button", class: "photo-open" }), h("label", {}, h("input", { type: "checkbox" }), h("span", { class: "photo-name" })), h("span", { class: "photo-state" }), h("span", { class: "photo-reason" }));
const PICTURE = h("img", { alt: "", width: 480, height: 320, decoding: "async", fetchpriority: "low" });

export class PhotoList {
  #orderId = "";
  #rows = new Map();
  #images = [];
  #reasons = new Map(); // why a photo is missing, by its id
  #lightbox = null; // made for the first photo that is opened
  #isRunning = false;
  #shown = null; // the photo that was gone to last, of those that will not be in the ZIP
  #hooks;

  /** Hooks: `onChange()` of what is chosen, `saving()`: the query and the label with which one photo is saved, `isLeftOut(image)`: whether the ZIP comes without it. */
  constructor(hooks) {
    this.#hooks = hooks;
    $("photo-list").addEventListener("change", () => this.#changed());
    $("photo-list").addEventListener("click", (event) => this.#clicked(event));
    for (const [event, picture] of [["load", "here"], ["error", "none"]]) {
      $("photo-list").addEventListener(event, ({ target }) => { target.closest("li").dataset.picture = picture; }, true);
    }
    $("all").addEventListener("change", (event) => {
      for (const row of this.#rows.values()) row.box.checked = event.target.checked;
      this.#changed();
    });
    $("show-left-out").addEventListener("click", () => this.#showLeftOut());
    $("view").addEventListener("click", () => this.#view($("view").getAttribute("aria-pressed") !== "true"));
    this.#view(kept(VIEW) === true);
  }

  /** Show the images of an overview. Ticks survive; a new order begins with all of them ticked. */
  show({ order_id: orderId, images, failures }, isNew) {
    if (isNew) this.#rows.clear();
    this.#orderId = orderId;
    this.#images = images;
    this.#reasons = new Map(failures.map((failure) => [failure.image_id, failure.reason]));
    const items = images.map((image) => this.#row(image).item);
    for (const image of images) this.#state(image.image_id, ...(STATES[image.status] ?? STATES.unknown), this.#why(image));
    const list = $("photo-list");
    if (isNew) {
      list.replaceChildren();
      this.#place(images);
    } else {
      for (const image of images) this.#picture(image);
      const same = items.length === list.children.length && items.every((item, at) => item === list.children[at]);
      if (!same) list.replaceChildren(...items);
    }
    this.#summarise();
  }

  /** Put the rows of a new order in place, a share after each frame, so that its first photos are seen soon. */
  #place(images, from = 0) {
    if (images !== this.#images) return; // another overview has come: all is in place
    const share = images.slice(from, from + SHARE);
    share.forEach((image, at) => this.#picture(image, from + at < EAGER ? "eager" : "lazy"));
    $("photo-list").append(...share.map((image) => this.#rows.get(image.image_id).item));
    const next = from + SHARE;
    if (next < images.length) requestAnimationFrame(() => setTimeout(() => this.#place(images, next)));
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

  /** Tick these photos and no others; ids that are not of this order count for nothing. */
  choose(ids) {
    if (!this.#images.some((image) => ids.has(image.image_id))) return;
    for (const [id, row] of this.#rows) row.box.checked = ids.has(id);
    this.isRunning = this.#isRunning;
    this.#changed();
  }

  /** While a download runs, rows show its progress: `lines` are those of its report. `missing`: what is said of the others, where it got nothing. */
  progress(lines, missing = "") {
    const known = new Map();
    for (const line of lines) if (known.get(line.image_id)?.outcome !== "failed") known.set(line.image_id, line);
    for (const image of this.chosen) {
      const line = known.get(image.image_id);
      if (!line) this.#state(image.image_id, "", missing || "Waiting");
      else if (line.outcome === "downloaded") this.#state(image.image_id, "done", "In the ZIP");
      else this.#state(image.image_id, "bad", missing || "Left out", line.reason);
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
      const item = TILE.cloneNode(true);
      const [open, label, state, reason] = item.children;
      const [box, name] = label.children;
      box.checked = true;
      box.disabled = this.#isRunning;
      open.dataset.id = image.image_id;
      row = { box, name, state, reason, open, item, img: null };
      this.#rows.set(image.image_id, row);
    }
    write(row.name, image.file_name);
    row.name.title = image.name;
    return row;
  }

  /** Why a photo cannot be had; empty where it can, or may be soon. */
  #why({ image_id: id, status }) {
    return this.#reasons.get(id) ?? (status === "waiting" ? NEVER_UPLOADED : "");
  }

  /** The picture of a photo that is ready; of any other why there is none. */
  #picture(image, loading = "lazy") {
    const row = this.#rows.get(image.image_id);
    const isReady = image.status === "ready";
    row.open.disabled = !isReady;
    row.box.hidden = LOST.has(image.status);
    if (isReady) row.open.setAttribute("aria-label", `Look at ${image.file_name}`);
    else row.open.removeAttribute("aria-label"); // it says why there is no picture
    if (isReady && !row.img) {
      const src = this.#address(image, SMALL);
      const early = window.early?.pictures.find((one) => one.getAttribute("src") === src);
      row.img = early ?? PICTURE.cloneNode();
      if (!early) Object.assign(row.img, { loading, src });
      else if (early.complete) row.item.dataset.picture = early.naturalWidth ? "here" : "none"; // its event is over
      row.open.replaceChildren(row.img);
    } else if (!isReady) {
      row.img = null;
      delete row.item.dataset.picture;
      const why = this.#why(image) || "No picture yet";
      if (row.open.textContent !== why) row.open.replaceChildren(h("span", { class: "photo-why" }, why));
    }
  }

  #address(image, query) {
    return `${base}/v1/orders/${this.#orderId}/images/${encodeURIComponent(image.image_id)}?${query}`;
  }

  #state(imageId, kind, text, reason = "") {
    const row = this.#rows.get(imageId);
    row.item.dataset.state = kind;
    write(row.state, text);
    write(row.reason, reason);
    const why = row.open.querySelector(".photo-why"); // stands in the picture's place
    if (why && reason) write(why, reason);
  }

  /** Go to the next chosen photo that will not be in the ZIP, from the one that was gone to before. */
  #showLeftOut() {
    const left = this.chosen.filter(this.#hooks.isLeftOut).map((image) => this.#rows.get(image.image_id).item);
    const items = left.filter((item) => item.isConnected);
    if (!items.length) return; // none is in place yet
    const next = items[(items.indexOf(this.#shown) + 1) % items.length];
    this.#shown = next;
    next.tabIndex = -1;
    next.scrollIntoView({ block: "center" });
    next.focus({ preventScroll: true });
  }

  #clicked(event) {
    const open = event.target.closest(".photo-open");
    if (!open) return;
    const ready = this.#images.filter((image) => image.status === "ready");
    const { query, label } = this.#hooks.saving();
    const items = ready.map((image) => {
      const { box } = this.#rows.get(image.image_id);
      return {
        name: image.file_name,
        small: this.#address(image, SMALL),
        large: this.#address(image, "preview=true"),
        before: this.#address(image, "include=original&preview=true"),
        save: this.#address(image, `${query}${query && "&"}download=true`),
        saveLabel: label,
        box: this.#isRunning ? null : box,
        onTick: () => this.#changed(),
      };
    });
    this.#lightbox ??= new Lightbox();
    this.#lightbox.open(items, ready.findIndex((image) => image.image_id === open.dataset.id));
  }

  #view(isList) {
    $("photo-list").className = isList ? "list" : "grid";
    $("view").setAttribute("aria-pressed", String(isList));
    keep(VIEW, isList);
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
    const offered = chosen.filter((image) => !LOST.has(image.status)).length;
    write($("all-label"), offered === this.#images.length ? `All ${photos(offered)}` : `${offered} of ${photos(this.#images.length)}`);
    const here = chosen.filter((image) => image.bytes !== null);
    const size = here.reduce((sum, image) => sum + image.bytes, 0);
    write($("photos-size"), here.length === chosen.length && here.length ? `${bytes(size)} in all.` : "");
  }
}
