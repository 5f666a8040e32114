// The page behind a share link: it works without this, which shows its photos one at a time, and says why one is missing.
import { $, h, scrollAbove, sleep, write } from "./dom.js";
import { moment, photos } from "./format.js";
import { Lightbox } from "./lightbox.js";

const NOT_READY = "Not ready yet. Open this link again later.";
const LOST = "This photo cannot be loaded. Reload the page, or ask whoever sent you the link.";
const LATE = "This photo could not be loaded just now. Reload the page to try again.";
const MISSING = { 404: LOST, 409: NOT_READY, 410: LOST, 422: LOST }; // any other status says nothing of the photo
const TRIES = 2; // more than the first
const PAUSE = 5; // seconds before each of them, where Retry-After names none
const LONGEST = 60; // seconds that are waited

const links = [...document.querySelectorAll(".gallery-photo")];
const lightbox = links.length ? new Lightbox() : null;

if (links.length) scrollAbove(document.querySelector(".delivery-bar"));

for (const time of document.querySelectorAll("time")) {
  time.textContent = moment(time.dateTime);
}

links.forEach((link) => {
  const picture = link.querySelector("img");
  const is = (state) => {
    link.dataset.picture = state;
    if (state === "none") void ask(link, picture);
  };
  picture.addEventListener("load", () => is("here"));
  picture.addEventListener("error", () => is("none"));
  is(!picture.complete ? "coming" : picture.naturalWidth ? "here" : "none");
  link.addEventListener("click", (event) => {
    const shown = links.filter((one) => one.dataset.picture !== "none");
    if (event.metaKey || event.ctrlKey || event.shiftKey || !shown.includes(link)) return; // as any link
    event.preventDefault();
    lightbox.open(shown.map(item), shown.indexOf(link));
  });
});

function item(link) {
  const picture = link.querySelector("img");
  return { name: picture.alt, small: picture.src, large: link.href, save: `${link.href}?download=true`, saveLabel: "Save this photo" };
}

/** Ask why a picture did not come. Only an answer about the photo itself makes it a missing one; after any other it is asked for again. */
async function ask(link, picture) {
  for (let tries = 0; ; tries += 1) {
    const answer = await fetch(picture.src).catch(() => null);
    await answer?.arrayBuffer().catch(() => {}); // or the connection would wait to be read
    const why = MISSING[answer?.status];
    if (why) return missing(link, why);
    if (answer?.ok && !link.dataset.again) {
      link.dataset.again = "asked"; // it was a moment's trouble
      picture.src += "";
      return;
    }
    const pause = Number(answer?.headers.get("Retry-After")) || PAUSE;
    if (answer?.ok || tries === TRIES || pause > LONGEST) return link.append(h("span", { class: "gallery-why" }, LATE));
    await sleep(pause * 1000);
  }
}

/** Say why a photo is missing, in place of what would open and save it, and that the ZIP comes without it. */
function missing(link, why) {
  link.parentElement.querySelector(".button").remove();
  link.replaceWith(h("p", { class: "gallery-why" }, why));
  const count = links.filter((one) => !one.isConnected).length;
  write($("missing"), `${photos(count)} ${count === 1 ? "is" : "are"} missing here, and would be missing in the ZIP.`);
}
