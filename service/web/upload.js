// Sending files: one request for the whole order, with the progress of each file in it.
import { base, session, signIn } from "./api.js";
import { Refusal } from "./problems.js";

/** POST the files as one order. `onProgress(index, part)` hears how far each file is. Throws `Refusal`. */
export async function uploadOrder(name, files, onProgress, signal) {
  for (;;) {
    const since = session();
    try {
      return await send(name, files, onProgress, signal);
    } catch (refusal) {
      if (refusal.code !== "unauthorized" || !(await signIn(since))) throw refusal;
    }
  }
}

function send(name, files, onProgress, signal) {
  const form = new FormData();
  form.append("name", name);
  for (const file of files) form.append("files", file, file.name);
  return new Promise((resolve, reject) => {
    const xhr = new XMLHttpRequest();
    xhr.open("POST", `${base}/v1/orders`);
    xhr.upload.addEventListener("progress", (event) => spread(event.loaded, files, onProgress));
    xhr.addEventListener("load", () => {
      if (xhr.status >= 200 && xhr.status < 300) resolve(JSON.parse(xhr.responseText));
      else reject(Refusal.from(xhr.responseText, xhr.status, Number(xhr.getResponseHeader("Retry-After")) || 0));
    });
    xhr.addEventListener("error", () => reject(Refusal.offline()));
    xhr.addEventListener("abort", () => reject(new DOMException("aborted", "AbortError")));
    signal.addEventListener("abort", () => xhr.abort(), { once: true });
    xhr.send(form);
  });
}

/** Files go out one after the other, so the bytes sent tell how far each one is. */
function spread(loaded, files, onProgress) {
  let before = 0;
  files.forEach((file, index) => {
    onProgress(index, Math.min(1, Math.max(0, (loaded - before) / (file.size || 1))));
    before += file.size;
  });
}
