// Asking for the API key. It is handed to the caller and kept nowhere else.
import { $, write } from "./dom.js";

let asking = null;

/** The key that the person types, or "" when they would rather not. Several askers share one dialog. */
export function askKey(wasWrong) {
  asking ??= ask(wasWrong).finally(() => { asking = null; });
  return asking;
}

function ask(wasWrong) {
  const dialog = $("key-dialog");
  const input = $("key");
  write($("key-problem"), wasWrong ? "That key is not accepted. Check it, or ask the operator." : "");
  input.value = "";
  input.setAttribute("aria-invalid", String(wasWrong));
  dialog.showModal();
  input.focus();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      resolve(dialog.returnValue === "use" ? input.value.trim() : "");
      input.value = "";
      dialog.returnValue = "";
    }, { once: true });
  });
}
