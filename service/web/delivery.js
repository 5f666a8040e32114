// The page behind a share link: it works without this, which shows its photos one at a time, and says why one is missing.
import { $, h, write } from "./dom.js";
import { moment, photos } from "./format.js";
import { Lightbox } from "./lightbox.js";

const NOT_READY = "Not ready yet. Open this link again later.";
const LOST = "This photo cannot be loaded. Reload the page, or ask whoever sent you the link.";

const links = [...document.querySelectorAll(".gallery-photo")];
const lightbox = links.length ? new Lightbox() : null;

for (const time of document.querySelectorAll("time")) {
  time.textContent = moment(time.dateTime);
}

links.forEach((link) => {
  const picture = link.querySelector("img");
  const is = (state) => {
    link.dataset.picture = state;
    if (state === "none") void missing(link, picture);
  };
  picture.addEventListener("load", () => is("here"));
  picture.addEventListener("error", () => is("none"));
  is(!picture.complete ? "coming" : picture.naturalWidth ? "here" : "none");
  link.addEventListener("click", (event) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    const shown = links.filter((one) => one.dataset.picture !== "none");
    lightbox.open(shown.map(item), shown.indexOf(link));
  });
});

function item(link) {
  const picture = link.querySelector("img");
  return { name: picture.alt, small: picture.src, large: link.href, save: `${link.href}?download=true`, saveLabel: "Save this photo" };
}

/** Say why a photo is missing, in place of what would open and save it, and that the ZIP comes without it. */
async function missing(link, picture) {
  const answer = await fetch(picture.src).catch(() => null);
  await answer?.arrayBuffer().catch(() => {}); // or the connection would wait to be read
  if (answer?.ok && !link.dataset.again) {
    link.dataset.again = "asked"; // it was a moment's trouble
    picture.src += "";
    return;
  }
  link.parentElement.querySelector(".button").remove();
  link.replaceWith(h("p", { class: "gallery-why" }, answer?.status === 409 ? NOT_READY : LOST));
  const count = document.querySelectorAll(".gallery-why").length;
  write($("missing"), `${photos(count)} ${count === 1 ? "is" : "are"} missing here, and would be missing in the ZIP.`);
}
