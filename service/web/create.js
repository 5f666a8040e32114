// Creating an order, for administrators: from sample photos or uploaded files.
import { postJson, request, whoIsHere } from "./api.js";
import { $, h, say, write } from "./dom.js";
import { bytes, photos, shortened } from "./format.js";
import { Refusal } from "./problems.js";
import { allowSearch } from "./search.js";
import { refreshStats } from "./stats.js";
import { uploadOrder } from "./upload.js";

const TYPES = new Set(["image/jpeg", "image/png", "image/webp"]);
const LARGEST = 20_000_000;

let chosen = [];
let sending = null;

/** `open(orderId)` shows an order that was made. */
export function wireCreate(open) {
  $("signin").addEventListener("submit", (event) => {
    event.preventDefault();
    void signIn();
  });
  $("signout").addEventListener("click", () => void signOut());
  $("sample").addEventListener("click", () => void make(open, "Creating a sample order", makeSample));
  $("upload").addEventListener("submit", (event) => {
    event.preventDefault();
    void make(open, "Uploading", makeUpload);
  });
  $("upload-clear").addEventListener("click", () => (sending ? sending.abort() : clear()));
  document.querySelector("[data-way=upload]").addEventListener("click", () => $("files").focus());
  $("files").addEventListener("change", (event) => add(event.target.files));
  wireDrop();
}

/** Show what whoever is here may do. */
export async function lookWhoIsHere() {
  const here = await whoIsHere();
  $("create").hidden = !here?.has_administrators;
  show(Boolean(here?.administrator));
}

async function signIn() {
  const token = $("token").value.trim();
  try {
    await postJson("/v1/session", { token });
    write($("signin-problem"), "");
    show(true);
    $("sample").focus();
    void refreshStats();
  } catch (error) {
    const isWrong = error.status === 403;
    write($("signin-problem"), isWrong ? "This token is not accepted. Check it, or ask the operator of this service." : sentences(error));
    $("token").focus();
  } finally {
    $("token").value = "";
  }
}

async function signOut() {
  write($("create-problem"), "");
  try {
    await request("/v1/session", { method: "DELETE", quiet: true });
  } catch (error) {
    return write($("create-problem"), `You are still signed in. ${sentences(error)}`);
  }
  clear();
  show(false);
  $("token").focus();
  void refreshStats();
}

function show(isAdministrator) {
  allowSearch(isAdministrator);
  $("signin").hidden = isAdministrator;
  $("making").hidden = !isAdministrator;
  document.querySelector("[data-way=upload]").hidden = !isAdministrator;
}

async function make(open, text, maker) {
  if (sending) return;
  sending = new AbortController();
  write($("create-problem"), "");
  busy(true);
  say(`${text}.`);
  try {
    const order = await maker(sending.signal);
    if (maker === makeUpload) clear();
    write($("create-problem"), notTaken(order.files));
    await open(order.order_id);
  } catch (error) {
    takeBack(error.files);
    if (error.name === "AbortError") return;
    if (error.status === 403) signedOut();
    else write($("create-problem"), sentences(error));
  } finally {
    sending = null;
    busy(false);
  }
}

/** The upload failed: the rows show the files as unsent, and those that were rejected. */
function takeBack(files = []) {
  chosen.forEach(({ file, bar, state, item }, index) => {
    const isRefused = files[index]?.status === "failed";
    bar.hidden = true;
    item.dataset.state = isRefused ? "bad" : "";
    write(state, isRefused ? "Rejected" : bytes(file.size));
  });
}

/** The session has ended; the chosen files stay. */
function signedOut() {
  show(false);
  const kept = chosen.length ? ` Your ${photos(chosen.length)} ${chosen.length === 1 ? "is" : "are"} still chosen.` : "";
  write($("signin-problem"), `You are no longer signed in. Sign in again.${kept}`);
  $("token").focus();
}

async function makeSample(signal) {
  return (await request("/v1/orders/sample", { method: "POST", signal })).json();
}

async function makeUpload(signal) {
  const files = chosen.map(({ file }) => file);
  $("upload-close").hidden = false;
  return uploadOrder($("order-name").value.trim(), files, (index, part) => {
    const { bar, state } = chosen[index];
    bar.hidden = false;
    bar.value = part;
    write(state, part < 1 ? `${Math.floor(part * 100)}%` : "Sent");
    if (part > 0) write($("upload-start"), `Uploading ${index + 1} of ${chosen.length}`);
  }, signal);
}

function busy(isBusy) {
  $("sample").disabled = $("upload-start").disabled = $("files").disabled = isBusy;
  for (const { remove } of chosen) remove.hidden = isBusy;
  write($("upload-clear"), isBusy ? "Cancel" : "Clear");
  if (!isBusy) $("upload-close").hidden = true;
  if (!isBusy) write($("upload-start"), `Upload ${photos(chosen.length)}`);
}

function wireDrop() {
  const drop = $("drop");
  const over = (isOver) => (event) => {
    event.preventDefault();
    drop.classList.toggle("is-over", isOver);
  };
  drop.addEventListener("dragenter", over(true));
  drop.addEventListener("dragover", over(true));
  drop.addEventListener("dragleave", over(false));
  drop.addEventListener("drop", (event) => {
    over(false)(event);
    if (!sending) add(event.dataTransfer.files);
  });
  // A photo that misses the box must not replace the page, and an upload with it.
  for (const name of ["dragover", "drop"]) addEventListener(name, (event) => isOfFiles(event) && event.preventDefault());
}

const isOfFiles = (event) => event.dataTransfer.types.includes("Files");

function add(files) {
  const refused = [];
  for (const file of files) {
    if (!TYPES.has(file.type)) refused.push(`${file.name} is not a JPEG, PNG or WebP photo.`);
    else if (!file.size) refused.push(`${file.name} is empty.`);
    else if (file.size > LARGEST) refused.push(`${file.name} is larger than 20 MB.`);
    else if (chosen.some((line) => isSame(line.file, file))) refused.push(`${file.name} is chosen already.`);
    else chosen.push(line(file));
  }
  $("files").value = "";
  write($("create-problem"), refused.join(" "));
  list();
}

function line(file) {
  const state = h("span", { class: "upload-state" }, bytes(file.size));
  const bar = h("progress", { max: 1, value: 0, hidden: true, "aria-label": `Upload of ${file.name}` });
  const remove = h("button", { type: "button", class: "button small quiet", "aria-label": `Remove ${file.name}` }, "×");
  const picture = h("canvas", { class: "upload-picture", width: 96, height: 64, "aria-hidden": "true" });
  const head = h("div", { class: "upload-line" }, picture, h("span", { class: "upload-name" }, file.name), state, remove);
  const made = { file, state, bar, remove, item: h("li", {}, head, bar) };
  remove.addEventListener("click", () => {
    chosen = chosen.filter((other) => other !== made);
    list();
    $("files").focus();
  });
  void draw(file, picture);
  return made;
}

const isSame = (one, other) => one.name === other.name && one.size === other.size && one.lastModified === other.lastModified;

/** A small picture of a file; one that cannot be read has none. */
async function draw(file, canvas) {
  try {
    const whole = await createImageBitmap(file, { resizeWidth: canvas.width, resizeQuality: "medium" });
    canvas.getContext("2d").drawImage(whole, 0, (canvas.height - whole.height) / 2);
    whole.close();
  } catch {
    // The upload will say what is wrong with it.
  }
}

function list() {
  $("uploads").replaceChildren(...chosen.map(({ item }) => item));
  $("upload-go").hidden = chosen.length === 0;
  write($("upload-start"), `Upload ${photos(chosen.length)}`);
}

function clear() {
  sending?.abort();
  chosen = [];
  $("order-name").value = "";
  list();
}

/** Names and reasons of the files that failed. */
function notTaken(files = []) {
  const failed = files.filter((file) => file.status === "failed");
  return failed.map((file) => `${shortened(file.name, 40)}: ${file.reason}`).join(" ");
}

function sentences(error) {
  const refusal = error instanceof Refusal ? error : Refusal.ofPage();
  const fault = refusal.status >= 500 && refusal.reference; // for the operator; a person can mend the others
  return [refusal.sentence, notTaken(refusal.files) || refusal.next, fault].filter(Boolean).join(" ");
}
