// The options form: what is asked for, and what it costs.
import { $, write } from "./dom.js";
import { credits, photos } from "./format.js";

const form = () => $("options").elements;

/** The query that says how images are rendered; null while a field holds nonsense. */
export function rendering() {
  const query = new URLSearchParams();
  const { format, quality, preview, dev_mode: test } = form();
  const isValid = quality.validity.valid;
  quality.setAttribute("aria-invalid", String(!isValid));
  write($("quality-problem"), isValid ? "" : "Enter a whole number from 1 to 90, or leave it empty.");
  if (!isValid) return null;
  if (format.value !== "jpeg") query.set("format", format.value);
  if (quality.value) query.set("quality", quality.value);
  if (preview.value === "false") query.set("preview", "false");
  if (test.checked) query.set("dev_mode", "true");
  return query;
}

/** The whole query of a download. `chosen` is empty for all images. */
export function downloadQuery(chosen) {
  const query = rendering();
  if (!query) return null;
  for (const id of chosen) query.append("image", id);
  if (form().wait.value) {
    query.set("wait", "true");
    query.set("wait_timeout", form().wait.value);
  }
  return query;
}

/** Say on the button what it gets, and beside it what that costs. `chosen` are images of the overview. */
export function showCost(chosen) {
  const waits = form().wait.value !== "";
  const ready = chosen.filter((image) => image.status === "ready");
  const busy = chosen.filter((image) => ["processing", "waiting", "unknown"].includes(image.status));
  const count = ready.length + (waits ? busy.length : 0);
  const here = ready.filter((image) => image.bytes !== null).length;
  $("go").disabled = count === 0;
  write($("go-label"), count ? `Download ${photos(count)}` : "Nothing ready yet");
  const buys = form().preview.value === "false" && !form().dev_mode.checked;
  $("cost").dataset.kind = buys && count > here ? "warn" : "";
  const lost = chosen.length - ready.length - busy.length;
  write($("cost"), price(count, here, buys));
  write($("left-out"), leftOut(busy.length, lost, waits, count).join("\n"));
}

function price(count, here, buys) {
  if (!count) return "";
  if (form().dev_mode.checked) return "Free: test photos are watermarked.";
  if (!buys) return "Previews are free.";
  if (count === here) return "No credits needed: these photos were bought earlier.";
  return `Uses up to ${credits(count - here)}: one for each photo not bought before.`;
}

/** What will not be in the ZIP: `busy` photos are not ready yet, `lost` ones never will be. */
function leftOut(busy, lost, waits, count) {
  const are = (number) => (number === 1 ? "is" : "are");
  const lines = [];
  if (busy && !waits && count) lines.push(`${photos(busy)} ${are(busy)} not ready yet and will be left out.`);
  if (busy && !count) lines.push(`${photos(busy)} ${are(busy)} not ready yet. This page updates automatically.`);
  if (lost) lines.push(`${photos(lost)} could not be enhanced and will be left out.`);
  return lines;
}
