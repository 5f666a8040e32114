// The options form: what is asked for, and what it costs.
import { $, write } from "./dom.js";
import { credits, photos } from "./format.js";

/** What Autoenhance is still working on. */
export const BUSY = new Set(["processing", "unknown"]);
const HOPELESS = new Set(["failed", "expired"]); // never bought

const MOST_SIZES = 5;

const form = () => $("options").elements;

/** The query that says how images are rendered, and which part of a large order; null while a field holds nonsense. */
export function rendering() {
  const query = new URLSearchParams();
  const { format, quality, preview, dev_mode: test, part, names, include } = form();
  const sizes = chosenSizes();
  const isSeveral = preview.value === "several";
  $("sizes").hidden = !isSeveral;
  for (const field of [format, quality]) field.parentElement.hidden = isSeveral; // each size has its own
  const wrong = sizes.length ? (sizes.length > MOST_SIZES ? `Choose at most ${MOST_SIZES}.` : "") : "Choose at least one.";
  write($("sizes-problem"), isSeveral ? wrong : "");
  if (isSeveral && wrong) return null;
  const isValid = isSeveral || quality.validity.valid;
  quality.setAttribute("aria-invalid", String(!isValid));
  write($("quality-problem"), isValid ? "" : "Enter a whole number from 1 to 90, or leave it empty.");
  if (!isValid) {
    $("more").open = true;
    return null;
  }
  if (isSeveral) for (const size of sizes) query.append("rendition", size);
  if (!isSeveral && format.value !== "jpeg") query.set("format", format.value);
  if (!isSeveral && quality.value) query.set("quality", quality.value);
  if (names.value) query.set("names", names.value);
  if (include.checked) query.set("include", "original");
  if (preview.value === "false") query.set("preview", "false");
  if (test.checked) query.set("dev_mode", "true");
  if (part.value) query.set("part", part.value);
  return query;
}

/** Choose what an address names; `{}` chooses the defaults. */
export function choose(search) {
  const { format, quality, preview, dev_mode: test, wait, names, include } = form();
  format.value = search.get("format") ?? "";
  if (!format.value) format.value = "jpeg";
  quality.value = search.get("quality") ?? "";
  const sizes = search.getAll("rendition");
  preview.value = sizes.length ? "several" : search.get("preview") === "false" ? "false" : "true";
  const called = new Set(sizes.map((size) => size.split(",")[0].trim()));
  const boxes = sizeBoxes();
  for (const box of boxes) box.checked = sizes.length ? called.has(box.value) : box.defaultChecked;
  const others = sizes.filter((size) => !boxes.some((box) => box.value === size));
  write($("sizes-dropped"), others.length ? `The link asked for ${others.join(" and ")}: this page has only the sizes listed here.` : "");
  names.value = search.get("names") ?? "";
  if (names.selectedIndex < 0) names.value = "";
  include.checked = search.getAll("include").includes("original");
  test.checked = search.get("dev_mode") === "true";
  wait.value = search.get("wait_timeout") ?? "";
  if (wait.selectedIndex < 0) wait.value = "";
  offerParts(Number(search.get("part")) || 1, Number(search.get("part")) || 1);
  showMore();
}

/** What is to be corrected while `rendering` is null. */
export const wrongField = () => (form().preview.value === "several" ? sizeBoxes()[0] : $("quality"));

/** Let a part be chosen where the order has several. */
export function offerParts(count, chosen = Number(form().part.value) || 1) {
  $("part-field").hidden = count < 2;
  const parts = Array.from({ length: count < 2 ? 0 : count }, (_, at) => {
    const option = document.createElement("option");
    option.value = String(at + 1);
    option.textContent = `Part ${at + 1} of ${count}`;
    return option;
  });
  if (parts.length !== $("part").length) $("part").replaceChildren(...parts);
  if (parts.length) $("part").value = String(Math.min(chosen, count));
}

/** Say beside the folded options which of them are not the usual ones. */
function showMore() {
  const { format, quality, preview, dev_mode: test, wait, names, include } = form();
  const isSeveral = preview.value === "several";
  const parts = isSeveral ? [] : [format.selectedOptions[0].textContent];
  if (names.value) parts.push("other file names");
  if (include.checked) parts.push("originals");
  if (quality.value && !isSeveral) parts.push(`quality ${quality.value}`);
  if (wait.value) parts.push("waits for what is not ready");
  if (test.checked) parts.push("test mode");
  write($("more-words"), parts.join(", "));
}

/** How one photo is saved by itself: its query, and what the button says. */
export function saving() {
  const query = rendering() ?? new URLSearchParams();
  for (const name of ["part", "rendition", "names", "include"]) query.delete(name);
  const isSeveral = form().preview.value === "several";
  const label = form().dev_mode.checked
    ? "Save with a watermark (free)"
    : buysPhotos() && !isSeveral ? "Save in full size (up to 1 credit)" : "Save the preview (free)";
  return { query: String(query), label };
}

/** Whether the options buy. */
function buysPhotos() {
  const { preview, dev_mode: test } = form();
  const buys = preview.value === "several" ? sizeBoxes().some((box) => box.checked && "buys" in box.dataset) : preview.value === "false";
  return buys && !test.checked;
}

/** Whether files of a rendition, as the overview and the report name it, cost a credit where the options buy. */
export function isPriced(rendition) {
  const box = sizeBoxes().find((one) => one.value === rendition);
  return box ? "buys" in box.dataset : rendition !== "original";
}

/** Show how a file in the ZIP will be called, in each of its sizes. */
export function showNames(files) {
  const isSeveral = form().preview.value === "several";
  write($("names-example"), files.length && !isSeveral ? `such as ${files.join(", ")}` : "");
  write($("sizes-example"), files.length ? `In the ZIP: ${files.join(", ")}, …` : "");
}

const sizeBoxes = () => [...$("sizes").querySelectorAll("[name=rendition]")];
const chosenSizes = () => sizeBoxes().filter((box) => box.checked).map((box) => box.value);

/** The whole query of a download. `chosen` is empty for all images. */
export function downloadQuery(chosen) {
  const query = rendering();
  if (!query) return null;
  if (chosen.length) query.delete("part"); // the ids say it
  for (const id of chosen) query.append("image", id);
  if (form().wait.value) {
    query.set("wait", "true");
    query.set("wait_timeout", form().wait.value);
  }
  return query;
}

/** Whether a photo that is chosen will not be in the ZIP. */
export const isLeftOut = ({ status }) => status !== "ready" && !(BUSY.has(status) && form().wait.value);

/** Say on the buttons what they get, and beside them what that costs. `chosen` are some of `all` images of the overview. */
export function showCost(chosen, all) {
  const waits = form().wait.value !== "";
  const ready = chosen.filter((image) => image.status === "ready");
  const busy = chosen.filter((image) => BUSY.has(image.status));
  const wanted = waits ? [...ready, ...busy] : ready;
  const count = wanted.length;
  const cost = buysPhotos() ? wanted.filter((image) => image.isToBuy).length : null;
  const isHopeless = !all.some(({ status }) => status === "ready" || BUSY.has(status));
  showWays(isHopeless);
  $("go").disabled = count === 0;
  const sizes = form().preview.value === "several" ? chosenSizes().length : 1;
  write($("go-label"), count ? `Download ${photos(count)}${sizes > 1 ? ` in ${sizes} sizes` : ""}` : busy.length ? "Nothing ready yet" : "No photo chosen");
  $("cost").dataset.kind = cost ? "warn" : "";
  $("share").disabled = ready.length === 0;
  for (const label of document.querySelectorAll(".share-what")) write(label, `Share ${kind()}`);
  write($("cost"), isHopeless ? hopeless(all.length) : price(count, cost));
  const out = isHopeless ? "" : leftOut(chosen.filter(isLeftOut), count);
  write($("left-out"), out);
  $("show-left-out").hidden = !out;
  showMore();
}

/** What a share link of these images would be: how many, as what, and what they may cost, beside what is `got`; null for previews. */
export function shareable(chosen, got) {
  const some = chosen.filter((image) => image.status === "ready" || BUSY.has(image.status));
  return { count: some.length, kind: kind(), cost: buysPhotos() ? some.filter((image) => isToBuy(image, got)).length : null };
}

/**
 * The most credits that a download of these images may spend, beside what is `got`, by what the overview told of all of them; null for
 * previews. As the service counts: also what was never uploaded, which `shareable` leaves out.
 */
export function mostCredits(chosen, got, { to_buy: priced, truncated }) {
  if (!buysPhotos()) return null;
  if (truncated) return priced; // not all files are listed, so what is here is not known of each photo
  return Math.min(priced, chosen.filter((image) => !HOPELESS.has(image.status) && isToBuy(image, got)).length);
}

const isToBuy = (image, got) => image.isToBuy && !got.get(image.image_id)?.isPaid;

/** Where nothing can be downloaded: the ways on, in place of the buttons. */
export function showWays(isHopeless) {
  $("go").hidden = $("share").hidden = isHopeless;
  $("ways").hidden = !isHopeless;
}

const hopeless = (count) =>
  `${count === 1 ? "The photo says" : "Each photo says"} why it cannot be downloaded. Put that right at Autoenhance, then look again.`;

/** What is downloaded or shared, in a word or two. */
function kind() {
  const { preview, dev_mode: test } = form();
  const sizes = chosenSizes().length;
  if (test.checked) return "test photos";
  if (preview.value === "several") return sizes === 1 ? "1 size" : `${sizes} sizes`;
  return buysPhotos() ? "full size" : "previews";
}

/** `cost`: the credits that so many photos may spend, or null for previews. */
function price(count, cost) {
  if (!count) return "";
  if (form().dev_mode.checked) return "Free: test photos are watermarked.";
  if (cost === null) return "Free to download and to share.";
  const originals = form().include.checked ? " For originals Autoenhance names no price." : "";
  if (!cost) return `No credits needed: these photos were bought earlier.${originals}`;
  return `Uses up to ${credits(cost)}: one for each photo not bought before${form().preview.value === "several" ? ", whatever its sizes" : ""}.${originals}`;
}

/** What will not be in the ZIP: `images`, of which some are not ready yet, and the others never will be. */
function leftOut(images, count) {
  const busy = images.filter((image) => BUSY.has(image.status)).length;
  const lost = images.length - busy;
  const gone = lost && `${photos(lost)} that cannot be downloaded`;
  if (busy && !count) {
    const late = `${photos(busy)} ${busy === 1 ? "is" : "are"} not ready yet. This page updates automatically; you can close it and come back later.`;
    return gone ? `${late} Left out: ${gone}.` : late;
  }
  const parts = [busy && `${photos(busy)} not ready yet`, gone].filter(Boolean);
  return parts.length ? `Left out: ${parts.join(", ")}.` : "";
}
