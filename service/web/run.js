// One download: a job on the service, followed by its events, and the file it ends in.
import { getJson, request, save } from "./api.js";
import { $, h, say, write } from "./dom.js";
import { follow } from "./events.js";
import { bytes, duration, photos, shortened } from "./format.js";
import { Pace } from "./pace.js";
import { Refusal } from "./problems.js";

const FINAL = new Set(["complete", "error", "cancelled"]);
const REPORT_AFTER = 400; // milliseconds
const SPOKEN_STEPS = 4; // progress is announced in quarters
const CANCELLED = "cancelled"; // why a run was aborted; otherwise its job continues

export class Run {
  #abort = null;
  #jobId = ""; // known before the first event of the job
  #job = null;
  #pace = new Pace();
  #spoken = 0;
  #isLost = false;
  #isWaiting = false; // for photos that Autoenhance is still working on
  #savesItself = false; // a job that ended before the page was loaded is not saved again automatically
  #reporting = 0;
  #clock = 0;
  #hooks;

  /**
   * Hooks: `onJob(jobId, or "")`, `onSettled(reportLines, wordsForTheOthers)`,
   * `onState("", "waiting", "collecting" or "done")`, `retry()`.
   */
  constructor(hooks) {
    this.#hooks = hooks;
    $("cancel").addEventListener("click", () => this.#cancel());
    $("save").addEventListener("click", () => this.#save());
    $("retry").addEventListener("click", () => hooks.retry());
    $("change").addEventListener("click", () => this.#toOptions());
  }

  /** Start a job for the order and follow it to its end. */
  async start(orderId, query) {
    const signal = this.#begin();
    this.#savesItself = true;
    try {
      const response = await request(`/v1/orders/${orderId}/jobs?${query}`, { method: "POST" });
      const { job_id: jobId } = await response.json();
      if (signal.reason === CANCELLED) await cancelJob(jobId);
      else await this.#follow(jobId, signal);
    } catch (error) {
      this.#fail(error, signal);
    }
  }

  /** Follow a running job, or show how it ended, after the page was reloaded. */
  async resume(jobId) {
    const signal = this.#begin(jobId);
    try {
      const job = await getJson(`/v1/jobs/${jobId}`, { signal });
      this.#savesItself = !FINAL.has(job.status);
      await this.#follow(jobId, signal);
    } catch (error) {
      if (error.status === 404 && !signal.aborted) this.reset(); // an old address: the job is no longer kept
      else this.#fail(error, signal);
    }
  }

  /** Leave the job alone and show the options again. */
  reset() {
    this.#abort?.abort();
    this.#stop();
    this.#job = null;
    this.#show("options");
    this.#hooks.onState("");
    this.#hooks.onJob("");
  }

  /** The order while the job waits for it: how much of it is ready. */
  waitsFor(overview) {
    const job = this.#job;
    if (!job || FINAL.has(job.status) || !overview.processing || job.downloaded + job.failed < overview.ready) return;
    this.#isWaiting = true;
    write($("running-title"), "Waiting for Autoenhance");
    write($("running-line"), `${overview.ready} of ${photos(overview.total)} are enhanced. You can close this page and come back later.`);
  }

  #begin(jobId = "") {
    this.#abort?.abort();
    this.#abort = new AbortController();
    this.#pace = new Pace();
    this.#jobId = jobId;
    this.#job = null;
    this.#spoken = 0;
    this.#show("running");
    this.#hooks.onState("waiting");
    $("bar").removeAttribute("value");
    write($("running-title"), "Starting");
    write($("running-percent"), "");
    write($("running-line"), "");
    $("running-title").focus();
    clearInterval(this.#clock);
    this.#clock = setInterval(() => this.#tick(), 1000);
    return this.#abort.signal;
  }

  async #follow(jobId, signal) {
    if (signal.aborted) return;
    this.#jobId = jobId;
    this.#hooks.onJob(jobId);
    const lost = () => {
      this.#isLost = true;
      write($("running-line"), "Connection lost. Reconnecting…");
    };
    for await (const message of follow(`/v1/jobs/${jobId}/events`, signal, lost)) {
      if (signal.aborted) return;
      const job = JSON.parse(message.data);
      if (!job.status) continue;
      const isPutOff = job.status === "queued" && this.#job?.status === "processing";
      this.#job = job;
      if (isPutOff) this.#putOff();
      this.#progress();
      if (FINAL.has(job.status)) {
        await this.#report();
        if (!signal.aborted) this.#finish();
        return;
      }
      this.#reportSoon();
    }
  }

  /** No storage space, or Autoenhance is failing: what was counted so far does not tell how it continues. */
  #putOff() {
    this.#pace = new Pace();
    $("bar").removeAttribute("value");
    write($("running-line"), "The download is paused and continues automatically.");
  }

  #progress() {
    const job = this.#job;
    const settled = job.downloaded + job.failed;
    this.#isLost = this.#isWaiting = false;
    this.#pace.note(settled, job.bytes, seconds());
    const part = job.total ? settled / job.total : 0;
    this.#hooks.onState(job.status === "queued" ? "waiting" : "collecting");
    if (job.total) $("bar").value = part;
    write($("running-title"), job.status === "queued" ? "Waiting" : "Preparing your ZIP");
    write($("running-percent"), job.total ? `${Math.floor(part * 100)}%` : "");
    this.#tick();
    const step = Math.floor(part * SPOKEN_STEPS);
    if (step > this.#spoken && part < 1) {
      this.#spoken = step;
      say(`${settled} of ${photos(job.total)}.`);
    }
  }

  #tick() {
    const job = this.#job;
    if (!job || this.#isLost || this.#isWaiting || job.status !== "processing" || !job.total) return;
    const now = seconds();
    const speed = this.#pace.speed(now);
    const left = this.#pace.left(job.total - job.downloaded - job.failed, now);
    const parts = [`${job.downloaded} of ${photos(job.total)}`, bytes(job.bytes)];
    if (speed >= 1000) parts.push(`${bytes(speed)}/s`);
    if (left !== null && left >= 1) parts.push(`about ${duration(left)} left`);
    if (job.failed) parts.push(`${job.failed} failed`);
    write($("running-line"), parts.join(", "));
  }

  /** The report follows the counts, at most so often. */
  #reportSoon() {
    this.#reporting ||= setTimeout(() => {
      this.#reporting = 0;
      void this.#report();
    }, REPORT_AFTER);
  }

  async #report() {
    const archive = this.#job?.archive_id;
    if (!archive) return;
    try {
      const report = await getJson(`/v1/archives/${archive}/report`, { quiet: true, signal: this.#abort.signal });
      this.#hooks.onSettled(report.images);
    } catch {
      // Only the list is out of date; the counts above it are not.
    }
  }

  #finish() {
    const job = this.#job;
    this.#stop();
    if (job.status === "cancelled") {
      this.reset();
      say("Cancelled.");
    } else if (job.status === "error") {
      const refusal = new Refusal(job.error ?? {}, 0);
      this.#outcome("bad", refusal.message, refusal.next);
    } else if (job.failed) {
      const some = `${job.downloaded} of ${photos(job.total)} are ready`;
      this.#outcome("warn", some, `${photos(job.failed)} could not be downloaded. The others are stored and will not be downloaded again.`);
    } else {
      const all = job.total === 1 ? "Your photo is in the ZIP" : `All ${photos(job.total)} are in the ZIP`;
      this.#outcome("good", all, `${bytes(job.bytes)}. ${this.#savesItself ? "Your browser is saving it now." : "It is ready to save."}`);
      if (this.#savesItself) void this.#save();
    }
  }

  #outcome(kind, title, text, reference = "") {
    const { downloaded, failures, status } = this.#job;
    $("outcome").dataset.kind = kind;
    write($("outcome-title"), title);
    write($("outcome-text"), text);
    write($("outcome-reference"), reference);
    $("failures").replaceChildren(...failures.map(failureLine));
    $("save").hidden = status !== "complete";
    write($("save"), kind === "good" ? (this.#savesItself ? "Save again" : "Save ZIP") : `Save ${photos(downloaded)}`);
    $("save").classList.toggle("primary", kind === "good");
    $("retry").hidden = kind === "good";
    write($("retry"), failures.length ? `Retry ${photos(failures.length)}` : "Try again");
    $("retry").classList.toggle("primary", kind !== "good");
    this.#show("outcome");
    this.#hooks.onState("done");
    if (status === "error") this.#hooks.onSettled(failures, "Not downloaded");
    $("outcome-title").focus();
  }

  async #save() {
    const path = `/v1/archives/${this.#job.archive_id}`;
    const { signal } = this.#abort;
    try {
      await request(`${path}/report`); // is it still there? A download could not say so
      save(path);
    } catch (error) {
      this.#fail(error, signal);
    }
  }

  async #cancel() {
    const jobId = this.#jobId;
    this.#abort.abort(CANCELLED);
    this.#toOptions();
    say("Cancelled.");
    if (jobId) await cancelJob(jobId);
  }

  /** The button that was pressed is hidden with its section, so keyboard users continue at the options. */
  #toOptions() {
    this.reset();
    $("options").querySelector("[name=preview]:checked").focus();
  }

  #fail(error, signal) {
    if (signal.aborted) return;
    this.#stop();
    this.#hooks.onJob("");
    const refusal = error instanceof Refusal ? error : Refusal.ofPage();
    this.#job = { failures: refusal.failures, downloaded: 0, status: "error" };
    this.#outcome("bad", refusal.message, refusal.next, refusal.reference);
  }

  #stop() {
    clearInterval(this.#clock);
    clearTimeout(this.#reporting);
    this.#reporting = 0;
  }

  #show(part) {
    $("options").hidden = part !== "options";
    $("running").hidden = part !== "running";
    $("outcome").hidden = part !== "outcome";
  }
}

async function cancelJob(jobId) {
  await request(`/v1/jobs/${jobId}`, { method: "DELETE", quiet: true }).catch(() => {});
}

function failureLine({ name, reason }) {
  return h("li", {}, h("b", {}, shortened(name || "(no name)", 90)), h("span", {}, reason));
}

const seconds = () => performance.now() / 1000;
