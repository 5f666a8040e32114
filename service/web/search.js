// Orders by name, for administrators: the account's own list.
import { getJson } from "./api.js";
import { $, h, say, write } from "./dom.js";
import { photos } from "./format.js";
import { orderLink } from "./recent.js";

const MOST = 20;

let isAllowed = false;

/** Whether orders are found by name: administrators may. */
export function allowSearch(isAdministrator) {
  isAllowed = isAdministrator;
  write($("order-id-label"), isAdministrator ? "Order id or name" : "Order id");
  if (!isAdministrator) clearFound();
}

export const canSearch = () => isAllowed;

export const clearFound = () => $("found").replaceChildren();

/** List the orders whose name contains a text; resolves to whether there are any. `open(orderId)` is for the chosen one. */
export async function searchOrders(text, open) {
  const { items } = await getJson(`/v1/orders?q=${encodeURIComponent(text)}&limit=${MOST}`);
  $("found").replaceChildren(...items.map(({ order_id: id, name, total }) => {
    const show = () => {
      clearFound();
      open(id);
    };
    return h("li", {}, orderLink(id, name, show), h("span", { class: "hint" }, total === null ? "" : photos(total)));
  }));
  if (items.length) say(`${items.length} orders found.`);
  return items.length > 0;
}
