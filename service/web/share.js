// Share links of the order that is shown: making one, copying it, taking it back.
import { getJson, needsKey, postJson, request } from "./api.js";
import { $, h, say, write } from "./dom.js";
import { credits, moment, photos } from "./format.js";
import { Refusal } from "./problems.js";
import { copyText } from "./snippets.js";
import { keep, kept } from "./storage.js";

const DAY = 24 * 3600;
const KEY = "shared-links"; // of this browser, for services where only administrators may list them

const AS = { previews: "as free previews", "test photos": "as free test photos with a watermark" };

let shared = null; // what would be shared: { orderId, query, count, kind, cost }
let looks = 0; // for links, so far

/** `now()` tells what would be shared: `{ orderId, query, count, kind, cost }`, or null for nothing. */
export function wireShare(now) {
  for (const button of [$("share"), $("share-saved")]) {
    button.addEventListener("click", () => {
      shared = now();
      if (shared) void open();
    });
  }
  $("share-close").addEventListener("click", () => $("share-dialog").close());
  $("share-form").addEventListener("submit", (event) => {
    event.preventDefault();
    void make();
  });
}

async function open() {
  const { count, kind, cost } = shared;
  const what = `${photos(count)} ${AS[kind] ?? `in ${kind}`}`;
  const price = cost ? ` Downloading them spends up to ${credits(cost)} of your account.` : "";
  write($("share-what"), `Whoever has the link sees and saves ${what}, and nothing else. Your client needs no account.${price}`);
  write($("share-problem"), "");
  list([]);
  $("share-dialog").showModal();
  await refresh();
}

async function make() {
  const path = `/v1/orders/${shared.orderId}/images${shared.query && "?"}${shared.query}`;
  $("share-make").disabled = true;
  write($("share-problem"), "");
  try {
    const made = await (await postJson("/v1/links", { path, expires_in: Number($("share-days").value) * DAY })).json();
    if (!needsKey()) keep(KEY, [{ ...made, order_id: shared.orderId, total: shared.count }, ...ours()]);
    await refresh(made.link_id);
  } catch (error) {
    problem(error);
  } finally {
    $("share-make").disabled = false;
  }
}

/** Show the links that work; `newest` is copied and gets the focus. */
async function refresh(newest = "") {
  const look = (looks += 1);
  const { links, error } = await all();
  if (look !== looks) return; // a later look is of what there is now
  if (error) problem(error); // what is listed is not all
  const now = Date.now();
  list(links.filter((link) => link.order_id === shared.orderId && new Date(link.expires_at) > now), newest);
}

/** The links of the account, page by page, and what kept us from reading them all; where nobody tells of them, those that this browser knows. */
async function all() {
  const links = [];
  let cursor = null;
  try {
    do {
      const page = await getJson(`/v1/links?limit=200${cursor ? `&cursor=${cursor}` : ""}`, { quiet: true });
      links.push(...page.items);
      cursor = page.next_cursor;
    } while (cursor);
  } catch (error) {
    return links.length || needsKey() ? { links, error } : { links: ours() };
  }
  return { links };
}

function problem(error) {
  const refusal = error instanceof Refusal ? error : Refusal.ofPage();
  write($("share-problem"), `${refusal.sentence} ${refusal.next}`);
}

function list(links, newest = "") {
  $("share-list-title").hidden = links.length === 0;
  write($("share-make"), links.length ? "Make another link" : "Make a link");
  $("share-make").classList.toggle("primary", links.length === 0);
  $("share-list").replaceChildren(...links.map(line));
  const first = newest && document.querySelector(`[data-link="${newest}"] button`);
  write($("share-ready"), first ? "The link is ready. Copy it, and send it to your client." : "");
  if (first) first.focus();
}

function line(link) {
  const address = new URL(link.page, location.origin).href;
  const copy = h("button", { type: "button", class: "button primary" }, "Copy");
  const stop = h("button", { type: "button", class: "button small quiet" }, "Stop sharing");
  const text = `${photos(link.total)}, until ${moment(link.expires_at)}`;
  copy.append(h("span", { class: "visually-hidden" }, ` the link to ${text}`));
  stop.append(h("span", { class: "visually-hidden" }, ` the link to ${text}`));
  copy.addEventListener("click", async () => {
    await copyText(address);
    copy.firstChild.data = "Copied";
    say("Copied.");
  });
  stop.addEventListener("click", () => void end(link.link_id));
  return h(
    "li",
    { "data-link": link.link_id },
    h("div", {}, h("a", { href: address, target: "_blank", rel: "noopener", class: "share-address" }, address), h("span", { class: "hint" }, text)),
    copy,
    ...sending(address),
    stop,
  );
}

/** On phones, the way to the apps by which links are sent. */
function sending(url) {
  if (!navigator.share || !matchMedia("(pointer: coarse)").matches) return [];
  const send = h("button", { type: "button", class: "button" }, "Send");
  send.addEventListener("click", () => void navigator.share({ url }).catch(() => {})); // the person thought better of it
  return [send];
}

async function end(linkId) {
  try {
    await request(`/v1/links/${linkId}`, { method: "DELETE" });
  } catch (error) {
    if (error.status !== 404) return write($("share-problem"), `${error.sentence} ${error.next}`);
  }
  keep(KEY, ours().filter((link) => link.link_id !== linkId));
  await refresh();
  $("share-make").focus();
  say("The link no longer works.");
}

function ours() {
  const links = kept(KEY);
  return Array.isArray(links) ? links.filter((link) => new Date(link?.expires_at) > Date.now()) : [];
}
