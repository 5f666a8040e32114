// The page behind a share link: it works without this, which shows its photos one at a time.
import { moment } from "./format.js";
import { Lightbox } from "./lightbox.js";

const links = [...document.querySelectorAll(".gallery-photo")];
const lightbox = links.length ? new Lightbox() : null;
const items = links.map((link) => {
  const picture = link.querySelector("img");
  return { name: picture.alt, small: picture.src, large: link.href, save: `${link.href}?download=true`, saveLabel: "Save this photo" };
});

for (const time of document.querySelectorAll("time")) {
  time.textContent = moment(time.dateTime);
}

links.forEach((link, at) => {
  const picture = link.querySelector("img");
  const is = (state) => { link.dataset.picture = state; };
  picture.addEventListener("load", () => is("here"));
  picture.addEventListener("error", () => is("none"));
  is(!picture.complete ? "coming" : picture.naturalWidth ? "here" : "none");
  link.addEventListener("click", (event) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    lightbox.open(items, at);
  });
});
