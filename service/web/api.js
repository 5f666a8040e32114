// Requests to the service. The API key, where the service wants one, lives in this module and nowhere else.
import { askKey } from "./key.js";
import { Refusal } from "./problems.js";

/** The path below which the service is offered: this module is at {base}/web/{version}/api.js. */
export const base = new URL("../..", import.meta.url).pathname.replace(/\/$/, "");

let key = "";

export const hasKey = () => key !== "";

/** The headers that every request carries. */
export function credentials() {
  return key ? { "X-API-Key": key } : {};
}

/** Answer an "unauthorized": true when there is a new key to try. */
export async function obtainKey(used) {
  if (key !== used) return true;
  const given = await askKey(used !== "");
  if (given) key = given;
  return given !== "";
}

export const currentKey = () => key;

/** An ok response. Throws `Refusal`. `quiet` requests never ask for the key: they can do without an answer. */
export async function request(path, { quiet = false, headers = {}, ...options } = {}) {
  for (;;) {
    const used = key;
    let response;
    try {
      response = await fetch(base + path, { ...options, headers: { ...headers, ...credentials() } });
    } catch (error) {
      if (options.signal?.aborted) throw error;
      throw Refusal.offline();
    }
    if (response.ok) return response;
    const refusal = await Refusal.of(response);
    if (refusal.code !== "unauthorized" || quiet || !(await obtainKey(used))) throw refusal;
  }
}

export async function getJson(path, options) {
  return (await request(path, options)).json();
}

export async function postJson(path, document, options = {}) {
  return request(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(document),
    ...options,
  });
}

/** Hand a file to the browser's own download manager, by a link that carries no key and soon expires. */
export async function save(path) {
  const url = key ? (await (await postJson("/v1/links", { path })).json()).url : base + path;
  const anchor = document.createElement("a");
  anchor.href = url;
  anchor.download = ""; // the server names the file; an error never replaces the page
  anchor.click();
}
