// Live counters and recent errors, fetched every half minute while the page is visible.
import { getJson } from "./api.js";
import { $, h, write } from "./dom.js";
import { duration, grouped } from "./format.js";

const EVERY = 30_000;
const SAVING = 2_000; // a ZIP counts once the browser has all of it

let timer = 0;
let looks = 0; // so far
let hasSentry = true; // until the service says otherwise

export function startStats() {
  document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : void refreshStats()));
  return refreshStats();
}

/** The counters after a download, now and once its file is saved. */
export const refreshAfterDownload = () => refreshStats(SAVING);

export async function refreshStats(pause = EVERY) {
  clearTimeout(timer);
  const look = (looks += 1);
  try {
    const stats = await getJson("/v1/stats", { quiet: true });
    if (look !== looks) return; // a later look is of what there is now
    for (const cell of document.querySelectorAll("[data-stat]")) {
      const value = stats[cell.dataset.stat];
      write(cell, cell.dataset.stat === "uptime_seconds" ? duration(value) : grouped(value));
    }
    await showErrors(stats.recent_errors);
  } catch {
    // The last numbers stay until the next attempt.
  }
  if (look === looks && !document.hidden) timer = setTimeout(refreshStats, pause);
}

/** The service's own last errors, and Sentry's where it is set up: administrators only. */
async function showErrors(own) {
  $("errors").hidden = !own;
  if (!own) return;
  const lines = [
    ...own.map((error) => line(`${error.code} at ${error.route}`, error.time)),
    ...(await sentryIssues()).map((issue) => line(issueTitle(issue), issue.last_seen)),
  ];
  $("error-list").replaceChildren(...(lines.length ? lines : [h("li", {}, "No errors of the service itself.")]));
}

async function sentryIssues() {
  if (!hasSentry) return [];
  try {
    return (await getJson("/v1/errors", { quiet: true })).issues;
  } catch (error) {
    hasSentry = error.code !== "errors_not_configured";
    return [];
  }
}

function issueTitle({ title, link }) {
  const text = title ?? "Untitled";
  return link ? h("a", { href: link, rel: "noreferrer", target: "_blank" }, text) : text;
}

function line(what, time) {
  return h("li", {}, what, " ", h("span", { class: "hint" }, time ? new Date(time).toLocaleString() : ""));
}
