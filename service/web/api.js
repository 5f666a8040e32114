// Requests to the service. Where it wants a key, the person gives it once, and the browser carries the session's cookie.
import { askKey } from "./key.js";
import { Refusal } from "./problems.js";

/** The path below which the service is offered: this module is at {base}/web/{version}/api.js. */
export const base = new URL("../..", import.meta.url).pathname.replace(/\/$/, "");

let sessions = 0; // begun on this page

/** Whether this service wants a key: the page comes with that. */
export const needsKey = () => "keyed" in document.documentElement.dataset;

/** What to compare with later: whether a session was begun since. */
export const session = () => sessions;

/** Answer an "unauthorized": true when the request can be tried again, in a session begun after `since`. */
export async function signIn(since) {
  return sessions !== since || askKey(beginSession);
}

/** Who is here; null where that is not known. */
export async function whoIsHere() {
  return getJson("/v1/session", { quiet: true }).catch(() => null);
}

async function beginSession(key) {
  try {
    await postJson("/v1/session", { key }, { quiet: true });
  } catch (error) {
    if (error.status === 401) return "That key is not accepted. Check it, or ask the operator.";
    return `${error.sentence} ${error.next}`;
  }
  sessions += 1;
  return "";
}

/** An ok response. Throws `Refusal`. `quiet` requests never ask for the key: they can do without an answer. */
export async function request(path, { quiet = false, ...options } = {}) {
  for (;;) {
    const since = sessions;
    let response;
    try {
      response = await (early(path) ?? fetch(base + path, options));
    } catch (error) {
      if (options.signal?.aborted) throw error;
      throw Refusal.offline();
    }
    if (response.ok) return response;
    const refusal = await Refusal.of(response);
    if (refusal.code !== "unauthorized" || quiet || !(await signIn(since))) throw refusal;
  }
}

export async function getJson(path, options) {
  const document = await (await request(path, options)).json();
  options?.signal?.throwIfAborted();
  return document;
}

/** What early.js has asked for already; once. */
function early(path) {
  const begun = window.early;
  if (begun?.path !== path) return null;
  begun.path = "";
  return begun.response;
}

export async function postJson(path, document, options = {}) {
  return request(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(document),
    ...options,
  });
}

/** Hand a file to the browser's own download manager. */
export function save(path) {
  const anchor = document.createElement("a");
  anchor.href = base + path;
  anchor.download = ""; // the server names the file; an error never replaces the page
  anchor.click();
}
