// Asking for the access key, in the API's words the API key. It is traded for the session's cookie at once, and kept nowhere.
import { $, write } from "./dom.js";

let asking = null;

/**
 * Ask for the key until `accept(key)` is content with it (it resolves to a sentence that says what is wrong, or to "").
 * Resolves to false when the person would rather not. Several askers share one dialog.
 */
export function askKey(accept) {
  asking ??= ask(accept).finally(() => { asking = null; });
  return asking;
}

function ask(accept) {
  const dialog = $("key-dialog");
  const input = $("key");
  const problem = (text) => {
    write($("key-problem"), text);
    input.setAttribute("aria-invalid", String(text !== ""));
  };
  problem("");
  input.value = "";
  dialog.showModal();
  input.focus();
  return new Promise((resolve) => {
    const end = new AbortController();
    const { signal } = end;
    $("key-form").addEventListener("submit", async (event) => {
      if (event.submitter?.value === "cancel") return; // the dialog closes by itself
      event.preventDefault();
      const key = input.value.trim();
      const text = key ? await accept(key) : "Enter the key first.";
      if (!text) return dialog.close("use");
      problem(text);
      input.select();
    }, { signal });
    dialog.addEventListener("close", () => {
      resolve(dialog.returnValue === "use");
      end.abort();
      input.value = "";
      dialog.returnValue = "";
    }, { signal });
  });
}
