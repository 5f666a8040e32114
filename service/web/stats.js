// Live counters and recent errors: fetched every half minute, and not at all while nobody looks.
import { getJson } from "./api.js";
import { $, h, write } from "./dom.js";
import { duration } from "./format.js";

const EVERY = 30_000;

let timer = 0;

export function startStats() {
  document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : void refreshStats()));
  return refreshStats();
}

export async function refreshStats() {
  clearTimeout(timer);
  try {
    const stats = await getJson("/v1/stats", { quiet: true });
    for (const cell of document.querySelectorAll("[data-stat]")) {
      const value = stats[cell.dataset.stat];
      write(cell, cell.dataset.stat === "uptime_seconds" ? duration(value) : value.toLocaleString("en"));
    }
    await showErrors(stats.recent_errors);
  } catch {
    // The last numbers stay; the next round comes.
  }
  if (!document.hidden) timer = setTimeout(refreshStats, EVERY);
}

/** The service's own last errors, and Sentry's where it is set up: administrators only. */
async function showErrors(own) {
  $("errors").hidden = !own;
  if (!own) return;
  const sentry = await getJson("/v1/errors", { quiet: true }).catch(() => null);
  const lines = [
    ...own.map((error) => line(`${error.code} at ${error.route}`, error.time)),
    ...(sentry?.issues ?? []).map((issue) => line(issue.title, issue.last_seen)),
  ];
  $("error-list").replaceChildren(...(lines.length ? lines : [h("li", {}, "None since the start.")]));
}

function line(text, time) {
  return h("li", {}, text, " ", h("span", { class: "hint" }, time ? new Date(time).toLocaleString() : ""));
}
