// Orders looked at lately. They are kept in this browser only, and can be forgotten.
import { base } from "./api.js";
import { $, h } from "./dom.js";
import { photos } from "./format.js";
import { keep, kept } from "./storage.js";
import { offerTogether, wireTogether } from "./together.js";

const KEY = "recent-orders";
const MOST = 8;

export function rememberOrder({ order_id: id, name, total }) {
  keep(KEY, [{ id, name, total }, ...recent().filter((order) => order.id !== id)].slice(0, MOST));
}

/** Show them, or hide their place where there are none. `open(orderId)` is called for the one that is chosen. */
export function showRecent(open) {
  const orders = recent();
  $("recent").hidden = orders.length === 0;
  delete document.documentElement.dataset.recent;
  $("together").hidden = orders.length < 2;
  offerTogether([]);
  $("recent-list").replaceChildren(...orders.map(({ id, name, total }) => {
    const box = h("input", { type: "checkbox", value: id, "aria-label": `${name || id}, ${photos(total)}: together with others`, hidden: orders.length < 2 });
    return h("li", {}, box, orderLink(id, name, open), h("span", { class: "hint" }, photos(total)));
  }));
}

/** A link to an order, which `open(id)` shows without leaving the page. */
export function orderLink(id, name, open) {
  const link = h("a", { href: `${base}/?order=${id}` }, name || `Order ${id.slice(0, 8)}`);
  link.addEventListener("click", (event) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    open(id);
  });
  return link;
}

export function wireRecent() {
  wireTogether(() => [...$("recent-list").querySelectorAll(":checked")].map((box) => box.value));
  $("recent-clear").addEventListener("click", () => {
    keep(KEY, []);
    $("recent").hidden = true;
    $("order-id").focus();
  });
}

function recent() {
  const orders = kept(KEY);
  return Array.isArray(orders) ? orders.filter((order) => typeof order?.id === "string") : []; // others of this host may keep theirs
}
