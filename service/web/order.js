// An order: its overview, kept up to date until everything is ready, and the download of it.
import { base, getJson } from "./api.js";
import { $, say, scrollAbove, write } from "./dom.js";
import { credits, photos } from "./format.js";
import { BUSY, choose, downloadQuery, isLeftOut, isPriced, mostCredits, offerParts, rendering, saving, shareable, showCost, showNames, showWays, wrongField } from "./options.js";
import { PhotoList } from "./photos.js";
import { Refusal } from "./problems.js";
import { rememberOrder, showRecent } from "./recent.js";
import { Run } from "./run.js";
import { wireShare } from "./share.js";
import { showSnippets } from "./snippets.js";
import { refreshAfterDownload } from "./stats.js";

const UUID = /[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/i;
const FIRST_POLL = 2000;
const MAX_POLL = 15_000;
const OPTIONS_DELAY = 250;
const MANY_CREDITS = 20; // more are spent only when asked twice

/** The order id in pasted text, such as an address; null if there is none. */
export function findOrderId(text) {
  return text.match(UUID)?.[0].toLowerCase() ?? null;
}

export class Order {
  #id = "";
  #jobId = "";
  #search = ""; // of the address that names what is shown
  #overview = null;
  #shownQuery = ""; // the options that the overview is of
  #isStale = false; // the overview: another look at the order was wanted, and has not come
  #loading = null;
  #poll = 0;
  #pause = FIRST_POLL;
  #delay = 0;
  #got = new Map(); // photos of the last download, by id: whether it has all of their files, and all that cost a credit
  #state = ""; // of the download: "waiting" for photos, "collecting" them, "done", or none
  #list = new PhotoList({ onChange: () => this.#chosen(), saving, isLeftOut });
  #run = new Run({
    onJob: (jobId) => this.#remember(jobId),
    onResults: (lines, other) => this.#showResults(lines, other),
    onEndOfOld: (ids) => this.#list.choose(ids),
    onState: (state) => this.#running(state),
    onPart: (part) => this.#entitle(part),
    retry: () => this.#download(),
    rebuild: () => this.#download(0),
    cost: () => this.#cost,
  });

  constructor() {
    document.addEventListener("click", ({ target }) => {
      const way = target.closest("[data-way]")?.dataset.way;
      if (way === "again") void this.open(this.#id);
      if (way === "other") $("order-id").select(); // which gives it the focus, too
    });
    $("options").addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#download();
    });
    wireShare(() => {
      const query = downloadQuery(this.#list.chosenIds);
      if (!query) wrongField().focus();
      return query && { orderId: this.#id, query: String(query), ...shareable(this.#images, this.#got) };
    });
    $("options").addEventListener("input", () => {
      this.#chosen();
      this.#remember(this.#jobId);
      clearTimeout(this.#delay);
      this.#delay = setTimeout(() => this.#refresh(), OPTIONS_DELAY);
    });
    document.addEventListener("visibilitychange", () => this.#schedule());
    scrollAbove($("dock"));
  }

  /** Show an order. `jobId`: a download to continue. `isAsked`: whether the user just asked for it, so it gets the focus. */
  async open(orderId, { jobId = "", isAsked = true } = {}) {
    const isOther = this.#id !== orderId;
    const isRunning = this.#state === "waiting" || this.#state === "collecting";
    if (isAsked && !isOther && isRunning) return $("running-title").focus(); // it would go on out of reach
    this.#leave();
    this.#id = orderId;
    if (isOther && isAsked) offerParts(1);
    document.documentElement.dataset.order = "shown";
    this.#pause = FIRST_POLL;
    this.#remember(jobId);
    this.#skeleton();
    if (!(await this.#load())) return;
    if (isAsked) $("order-title").focus();
    say(`${title(this.#overview)}: ${photos(this.#overview.total)}, ${this.#overview.ready} ready.`);
    if (jobId) await this.#run.resume(jobId, rendering());
  }

  /** Whether an address with this query names what is shown. */
  isAt(search) {
    return search === this.#search;
  }

  /** Show no order. */
  close() {
    this.#leave();
    this.#search = "";
    choose(new URLSearchParams());
    delete document.documentElement.dataset.order;
    showRecent((orderId) => this.open(orderId));
    document.title = "Autoenhance Batch";
    $("order").hidden = $("order-problem").hidden = true;
    $("empty").hidden = false;
  }

  #leave() {
    this.#id = "";
    this.#overview = null;
    this.#run.reset();
    clearTimeout(this.#poll);
    this.#loading?.abort();
  }

  async #load() {
    this.#loading?.abort();
    const loading = (this.#loading = new AbortController());
    try {
      const query = String(rendering() ?? "");
      const overview = await getJson(`/v1/orders/${this.#id}?${query}`, { signal: loading.signal });
      offerParts(overview.parts.length);
      if (overview.parts.length > 1 && query !== String(rendering() ?? query)) return this.#load(); // one part at a time
      this.#show(overview, query);
      if (query !== String(rendering() ?? query)) void this.#refresh(); // the options were changed meanwhile
      return true;
    } catch (error) {
      if (!loading.signal.aborted) this.#refused(error);
      return false;
    }
  }

  /** Reload in the background: a failure changes nothing that is shown, unless nobody is signed in any more. */
  async #refresh() {
    if (!this.#overview || this.#state === "done" || !rendering()) return;
    this.#loading?.abort(); // its response would be for older options or another order
    const loading = (this.#loading = new AbortController());
    this.#isStale = true;
    try {
      const query = String(rendering());
      const overview = await getJson(`/v1/orders/${this.#id}?${query}`, { signal: loading.signal });
      if (loading.signal.aborted) return;
      if (!this.#isFixed) return this.#show(overview, query);
      this.#run.waitsFor(byPhoto(overview)); // the list shows what the download made of the photos
      if (isUnfinished(overview)) this.#schedule();
    } catch (error) {
      if (loading.signal.aborted) return; // a later look replaces it, or none is wanted
      if (error.code !== "unauthorized") return this.#schedule();
      if (this.#state) return; // what becomes of the download is still told
      this.#overview = null;
      this.#refused(error);
    }
  }

  #show(found, query) {
    this.#shownQuery = query;
    this.#isStale = false;
    const before = this.#overview;
    const overview = byPhoto(found);
    this.#overview = overview;
    $("order").hidden = false;
    $("order").setAttribute("aria-busy", "false");
    write($("order-title"), title(overview));
    write($("order-number"), overview.name ? overview.order_id : "");
    this.#entitle();
    rememberOrder(overview);
    offerParts(overview.parts.length);
    tell(state(overview));
    const waiting = overview.images.filter((image) => image.status === "waiting").length;
    total("all", overview.total);
    total("ready", overview.ready);
    total("saved", 0);
    total("processing", overview.processing - waiting);
    total("waiting", waiting);
    total("failed", overview.failed);
    total("left", 0);
    this.#list.show(overview, before === null);
    showNames(overview.images.find((image) => image.status === "ready")?.files ?? []);
    this.#chosen();
    this.#run.waitsFor(overview);
    if (isUnfinished(before) && !isUnfinished(overview)) say("All photos are ready to download.");
    this.#schedule();
  }

  #schedule() {
    clearTimeout(this.#poll);
    const isCurrent = !isUnfinished(this.#overview) && !this.#isStale;
    if (!this.#overview || isCurrent || this.#state === "done" || document.hidden) return;
    this.#poll = setTimeout(() => this.#refresh(), this.#pause);
    this.#pause = Math.min(this.#pause * 1.3, MAX_POLL);
  }

  #chosen() {
    if (!this.#overview) return;
    showCost(this.#images, this.#overview.images);
    const query = downloadQuery(this.#list.chosenIds);
    if (query) showSnippets(this.#id, query);
  }

  /** The images that are ticked. For options that the overview does not tell of yet, each is to be bought. */
  get #images() {
    const { chosen } = this.#list;
    return this.#isTold ? chosen : chosen.map((image) => ({ ...image, isToBuy: true }));
  }

  /** Whether the overview tells of the options as they are now. */
  get #isTold() {
    return String(rendering()) === this.#shownQuery;
  }

  /** The credits that a download may spend: what the last one has is not bought twice. */
  get #cost() {
    return shareable(this.#images, this.#got).cost ?? 0;
  }

  #showResults(lines, missing) {
    this.#got.clear();
    for (const { image_id: id, outcome, rendition } of lines) {
      const { isWhole = true, isPaid = true } = this.#got.get(id) ?? {};
      const isHere = outcome === "downloaded";
      this.#got.set(id, { isWhole: isWhole && isHere, isPaid: isPaid && (isHere || !isPriced(rendition)) });
    }
    this.#list.progress(lines, missing);
  }

  /** Begin a download; one of more than `limit` credits is asked for once more. */
  async #download(limit = MANY_CREDITS) {
    const query = downloadQuery(this.#list.chosenIds);
    if (!query) return wrongField().focus();
    const cost = this.#cost;
    // A newer overview may come while it is asked; of other options only how many photos there are holds.
    const overview = this.#isTold ? this.#overview : { ...this.#overview, to_buy: Infinity };
    // Who waits for an order that still grows wants what it has in the end.
    const most = overview.growing && query.has("wait") ? null : mostCredits(this.#images, this.#got, overview);
    if (cost > limit && !(await confirms(cost))) return;
    if (Number.isFinite(most)) query.set("max_credits", most);
    // What buys, or waits for photos, is saved at its end: until then it can be cancelled here.
    await this.#run.start(this.#id, query, !cost && !query.has("wait"));
  }

  /** Whether the list shows the progress of a download, not the state of the order. */
  get #isFixed() {
    return this.#state === "collecting" || this.#state === "done";
  }

  #running(state) {
    if (state === this.#state) return;
    this.#state = state;
    this.#list.isRunning = state !== "";
    if (state === "done") {
      this.#end();
      void refreshAfterDownload();
    }
    if (this.#isFixed) {
      clearTimeout(this.#poll);
      this.#loading?.abort();
      if (state === "collecting") {
        this.#list.progress([]);
        this.#pause = FIRST_POLL;
        this.#schedule();
      }
    } else {
      this.#got.clear();
      this.#pause = FIRST_POLL;
      void this.#refresh();
    }
  }

  /** The order's head says what the download made of it. */
  #end() {
    const saved = [...this.#got.values()].filter((photo) => photo.isWhole).length;
    const left = this.#got.size - saved;
    if (!this.#got.size) return; // its report is gone
    for (const name of ["ready", "processing", "waiting", "failed"]) total(name, 0);
    total("saved", saved);
    total("left", left);
    tell(!saved ? ["bad", "Nothing downloaded"] : left ? ["busy", "Some left out"] : ["good", "Complete"]);
  }

  #remember(jobId) {
    if (!this.#id) return;
    this.#jobId = jobId;
    const search = new URLSearchParams({ order: this.#id, ...(jobId && { job: jobId }) });
    for (const [name, value] of downloadQuery([]) ?? []) search.append(name, value);
    this.#search = `?${search}`;
    const address = `${base}/${this.#search}`;
    if (location.pathname + location.search === address) return;
    const isSameOrder = findOrderId(new URLSearchParams(location.search).get("order") ?? "") === this.#id;
    history[isSameOrder ? "replaceState" : "pushState"](null, "", address);
  }

  #skeleton() {
    clearTimeout(this.#poll);
    $("empty").hidden = $("recent").hidden = $("order-problem").hidden = true;
    $("order").hidden = false;
    $("order").setAttribute("aria-busy", "true");
    write($("order-title"), "Loading…");
    write($("order-number"), this.#id);
    write($("order-state"), "");
    for (const name of ["all", "ready", "saved", "processing", "waiting", "failed", "left"]) total(name, 0);
    $("photo-list").replaceChildren();
    write($("all-label"), "All photos");
    write($("photos-size"), "");
    showWays(false);
    $("go").disabled = $("share").disabled = true;
    write($("go-label"), "Download ZIP");
    write($("cost"), "");
    write($("left-out"), "");
    $("show-left-out").hidden = true;
  }

  /** The tab's title; while a download runs, with how far it is. */
  #entitle(part = null) {
    if (!this.#overview) return;
    const far = part === null ? "" : `${Math.floor(part * 100)}% - `;
    document.title = `${far}${title(this.#overview)} - Autoenhance Batch`;
  }

  #refused(error) {
    const refusal = error instanceof Refusal ? error : Refusal.ofPage();
    const isUnknown = refusal.code === "order_not_found";
    $("order-again").hidden = isUnknown;
    write($("order-other"), isUnknown ? "Change the id" : "Another order");
    $("order").hidden = true;
    document.title = `${refusal.message} - Autoenhance Batch`;
    write($("order-problem-title"), refusal.message);
    write($("order-problem-next"), refusal.next);
    write($("order-problem-reference"), refusal.reference);
    $("order-problem").hidden = false;
  }
}

/** An overview that counts and lists each photo once, in whatever sizes it comes. */
function byPhoto(overview) {
  const found = new Map();
  for (const image of overview.images) {
    const isToBuy = image.bytes === null && isPriced(image.rendition);
    const known = found.get(image.image_id);
    if (!known) found.set(image.image_id, { ...image, files: [image.file_name], isToBuy });
    else {
      known.files.push(image.file_name);
      known.isToBuy ||= isToBuy;
      known.bytes = known.bytes === null || image.bytes === null ? null : known.bytes + image.bytes;
    }
  }
  const images = [...found.values()];
  const files = { ...overview, images, readyFiles: overview.ready };
  if (images.length === overview.images.length) return files;
  const count = (...states) => images.filter((image) => states.includes(image.status)).length;
  return {
    ...files,
    total: images.length,
    ready: count("ready"),
    processing: count("processing", "unknown", "waiting"),
    failed: count("failed", "expired"),
  };
}

/** Ask once more before many credits are spent. */
function confirms(cost) {
  const dialog = $("confirm-dialog");
  write($("confirm-title"), `Spend up to ${credits(cost)}?`);
  write($("confirm-go"), `Buy ${photos(cost)}`);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      resolve(dialog.returnValue === "buy");
      dialog.returnValue = "";
    }, { once: true });
  });
}

/** A number of the order's head; those that are nothing are left out. */
function total(name, count) {
  write($(`total-${name}`), String(count));
  $(`total-${name}`).parentElement.hidden = count === 0;
}

function tell([kind, text]) {
  $("order-state").dataset.kind = kind;
  write($("order-state"), text);
}

const title = (overview) => overview.name || `Order ${overview.order_id.slice(0, 8)}`;

/** Photos are being enhanced, or still to be listed. */
const isUnfinished = (overview) => overview?.status === "processing";

function state(overview) {
  const isGrowing = isUnfinished(overview) && !overview.processing;
  if (isGrowing || overview.images.some((image) => BUSY.has(image.status))) return ["busy", "Being enhanced"];
  if (!overview.ready) return ["bad", "Nothing to download"];
  return ["good", overview.failed ? "Ready, some failed" : "Ready"];
}
