// Photos one at a time, large: by keys, by buttons, by swiping. The page of an order and that of a share link use it.
import { h, write } from "./dom.js";

const SWIPE = 40; // pixels

export class Lightbox {
  #items = [];
  #at = 0;
  #dialog;
  #picture = h("img", { alt: "", decoding: "sync" });
  #name = h("h2", { id: "lightbox-name" });
  #place = h("p", { class: "lightbox-place", role: "status" });
  #save = h("a", { class: "button small", download: true }, "Save this photo");
  #before = h("button", { type: "button", class: "button small", "aria-pressed": "false" }, "Before");
  #after = h("button", { type: "button", class: "button small", "aria-pressed": "true" }, "After");
  #switch = h("div", { class: "lightbox-switch", role: "group", "aria-label": "Before and after" }, this.#before, this.#after);
  #badge = h("p", { class: "lightbox-badge", hidden: true }, "Before");
  #wanted = ""; // the address of the picture that is to be seen
  #box = h("input", { type: "checkbox" });
  #tick = h("label", { class: "check" }, this.#box, h("span", {}, "Include in the ZIP"));

  constructor() {
    const button = (kind, label, text, step) => {
      const made = h("button", { type: "button", class: `lightbox-${kind}`, "aria-label": label }, text);
      made.addEventListener("click", step);
      return made;
    };
    const close = button("close", "Close", "×", () => this.#dialog.close());
    const figure = h(
      "div",
      { class: "lightbox-figure" },
      button("step before", "Previous photo", "‹", () => this.#go(-1)),
      this.#picture,
      this.#badge,
      button("step after", "Next photo", "›", () => this.#go(1)),
    );
    const foot = h("div", { class: "lightbox-foot" }, this.#tick, this.#switch, this.#save, this.#place);
    this.#before.addEventListener("click", () => this.#compare(true));
    this.#after.addEventListener("click", () => this.#compare(false));
    const said = h("p", { class: "visually-hidden", role: "status", "data-say": true });
    const head = h("header", {}, this.#name, close);
    this.#dialog = h("dialog", { class: "lightbox", "aria-labelledby": "lightbox-name" }, head, figure, foot, said);
    document.body.append(this.#dialog);
    this.#dialog.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (step) this.#go(step);
    });
    this.#box.addEventListener("change", () => {
      const item = this.#items[this.#at];
      item.box.checked = this.#box.checked;
      item.onTick();
    });
    this.#wireSwipe(figure);
  }

  /**
   * Show `items[at]`. Each is `{ name, small, large, save, saveLabel }`, with `box` and `onTick` where it can be ticked,
   * and `before` where it can be seen as it was taken.
   */
  open(items, at) {
    this.#items = items;
    this.#at = at;
    this.#show();
    this.#dialog.showModal();
  }

  #go(step) {
    this.#at = (this.#at + step + this.#items.length) % this.#items.length;
    this.#show();
  }

  #show() {
    const item = this.#items[this.#at];
    write(this.#name, item.name);
    write(this.#place, `${this.#at + 1} of ${this.#items.length}`);
    write(this.#save, item.saveLabel);
    this.#save.href = item.save;
    this.#tick.hidden = !item.box;
    if (item.box) this.#box.checked = item.box.checked;
    this.#badge.hidden = true;
    this.#picture.alt = item.name;
    this.#switch.hidden = !item.before;
    this.#picture.src = item.small; // is here already
    this.#compare(false);
  }

  /** Show the photo as it was taken, or enhanced. */
  #compare(isBefore) {
    const item = this.#items[this.#at];
    this.#before.setAttribute("aria-pressed", String(isBefore));
    this.#after.setAttribute("aria-pressed", String(!isBefore));
    this.#see(isBefore ? item.before : item.large, () => {
      this.#badge.hidden = !isBefore;
      this.#picture.alt = isBefore ? `${item.name} before it was enhanced` : item.name;
    });
  }

  /** Put a picture in place once it is here; until then the one before it stays. */
  #see(address, onSeen) {
    this.#wanted = address;
    const picture = new Image();
    const end = (isHere) => () => {
      if (this.#wanted !== address) return;
      if (isHere) {
        this.#picture.src = picture.src;
        onSeen();
      } else write(this.#place, "This picture cannot be shown here");
    };
    picture.addEventListener("load", end(true), { once: true });
    picture.addEventListener("error", end(false), { once: true });
    picture.src = address;
  }

  #wireSwipe(figure) {
    let from = null;
    figure.addEventListener("touchstart", (event) => { from = event.touches.length === 1 ? event.touches[0] : null; }, { passive: true });
    figure.addEventListener("touchend", (event) => {
      const to = event.changedTouches[0];
      const across = from ? to.clientX - from.clientX : 0;
      if (from && Math.abs(across) > SWIPE && Math.abs(across) > 2 * Math.abs(to.clientY - from.clientY)) this.#go(across < 0 ? 1 : -1);
      from = null;
    });
  }
}
