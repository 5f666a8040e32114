// Several recent orders as one ZIP of free previews: a job of them all, saved from its first photo on.
import { postJson, save } from "./api.js";
import { $, say, write } from "./dom.js";
import { follow } from "./events.js";
import { photos } from "./format.js";
import { Refusal } from "./problems.js";
import { cancelJob, FINAL, NOT_CANCELLED } from "./run.js";

const WHAT = "Free previews, a folder for each order.";
const HOW = "Tick two or more to download them together as one ZIP.";

let running = null;

/** `chosen()` tells the ids of the orders that are ticked. */
export function wireTogether(chosen) {
  $("recent-list").addEventListener("change", () => offerTogether(chosen()));
  $("together-go").addEventListener("click", () => void download(chosen));
  $("together-cancel").addEventListener("click", () => running.abort());
}

/** Say what the ticks lead to. */
export function offerTogether(ids) {
  if (running) return;
  offer(ids);
  delete $("together-line").dataset.kind;
  write($("together-line"), ids.length < 2 ? HOW : WHAT);
  write($("together-problem"), "");
}

function offer(ids) {
  $("together-go").hidden = ids.length < 2;
  write($("together-go"), `Download ${ids.length} orders as one ZIP`);
}

async function download(chosen) {
  running = new AbortController();
  show("Preparing your ZIP");
  try {
    const { job_id: jobId } = await (await postJson("/v1/jobs", { order_ids: chosen() })).json();
    const cancel = async () => {
      if (!(await cancelJob(jobId)) && !running) write($("together-line"), NOT_CANCELLED);
    };
    if (running.signal.aborted) void cancel(); // while it was asked for
    else running.signal.addEventListener("abort", cancel);
    await watch(jobId, running.signal);
  } catch (error) {
    const refusal = error instanceof Refusal ? error : Refusal.ofPage();
    write($("together-line"), "");
    if (!running.signal.aborted) write($("together-problem"), `${refusal.sentence} ${refusal.next}`);
  }
  if (running.signal.aborted) write($("together-line"), "Cancelled.");
  running = null;
  offer(chosen()); // the ticks may be others now
  $("together-go").disabled = false;
  $("together-cancel").hidden = true;
  ($("together-go").hidden ? $("recent-list").querySelector("input") : $("together-go"))?.focus();
}

async function watch(jobId, signal) {
  let isSaving = false;
  for await (const message of follow(`/v1/jobs/${jobId}/events`, signal)) {
    const job = JSON.parse(message.data);
    if (!job.status) continue;
    if (job.downloaded && job.archive_id && !isSaving) {
      isSaving = true;
      save(`/v1/archives/${job.archive_id}`);
    }
    if (!FINAL.has(job.status)) show(job.total ? `${job.downloaded} of ${photos(job.total)}` : "Preparing your ZIP");
    else if (job.status === "error") throw new Refusal(job.error ?? {}, 0);
    else if (job.status === "cancelled") return write($("together-line"), "Cancelled.");
    else return end(job);
  }
}

function show(text) {
  delete $("together-line").dataset.kind;
  $("together-go").disabled = true;
  $("together-cancel").hidden = false;
  write($("together-line"), text);
}

function end({ downloaded, failed }) {
  const left = failed ? ` ${photos(failed)} ${failed === 1 ? "is" : "are"} left out: _download_report.txt in the ZIP says why.` : "";
  $("together-line").dataset.kind = "good";
  const text = `Saved in your browser's downloads: ${photos(downloaded)}.${left}`;
  write($("together-line"), text);
  say(text);
}
