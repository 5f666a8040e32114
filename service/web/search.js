// Orders by name, for administrators: the account's own list.
import { getJson } from "./api.js";
import { $, h, say, write } from "./dom.js";
import { orders, photos } from "./format.js";
import { orderLink } from "./recent.js";

const MOST = 20;
const EMPTY_PAGES = 5; // of which the next one is asked for

let isAllowed = false;
let searches = 0; // begun, or no longer wanted

/** Whether orders are found by name: administrators may. */
export function allowSearch(isAdministrator) {
  isAllowed = isAdministrator;
  write($("order-id-label"), isAdministrator ? "Order id or name" : "Order id");
  if (!isAdministrator) clearFound();
}

export const canSearch = () => isAllowed;

export function clearFound() {
  searches += 1;
  $("found").replaceChildren();
  write($("found-more"), "");
}

/** List the orders whose name contains a text; resolves to what to say where there is none. `open(orderId)` is for the chosen one. */
export async function searchOrders(text, open) {
  const search = (searches += 1);
  const { items, next_cursor: next } = await firstOrders(text);
  if (search !== searches) return "";
  $("found").replaceChildren(...items.map(({ order_id: id, name, total }) => {
    const show = () => {
      clearFound();
      open(id);
    };
    return h("li", {}, orderLink(id, name, show), h("span", { class: "hint" }, total === null ? "" : photos(total)));
  }));
  if (!items.length) return next ? "None of the newest orders has this in its name. Paste the id of an older one." : "No order has this in its name.";
  const more = items.length === 1 ? "Only the newest one is shown." : `The newest ${items.length} are shown.`;
  write($("found-more"), next ? `${more} Type more of the name to find others.` : "");
  say(next ? more : `${orders(items.length)} found.`);
  return "";
}

/** The first page that has orders. Before it there may be empty ones, where orders were deleted. */
async function firstOrders(text) {
  const path = `/v1/orders?q=${encodeURIComponent(text)}&limit=${MOST}`;
  let page = await getJson(path);
  for (let empty = 1; !page.items.length && page.next_cursor && empty <= EMPTY_PAGES; empty += 1) {
    page = await getJson(`${path}&cursor=${encodeURIComponent(page.next_cursor)}`);
  }
  return page;
}
