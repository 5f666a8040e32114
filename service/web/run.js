// One download: a job on the service, followed by its events, and the file it ends in.
import { getJson, postJson, request, save } from "./api.js";
import { $, h, say, write } from "./dom.js";
import { follow } from "./events.js";
import { bytes, credits, duration, files, photos, shortened } from "./format.js";
import { Refusal } from "./problems.js";
import { keep, kept, tab } from "./storage.js";
import { TransferRate } from "./transfer_rate.js";

/** How a job ends. */
export const FINAL = new Set(["complete", "error", "cancelled"]);
const REPORT_AFTER = 400; // milliseconds
const SPOKEN_STEPS = 4; // progress is announced in quarters
// Trying again can change nothing about these; about others it can.
const LASTING = new Set(["not_uploaded", "enhancement_failed", "expired", "image_not_found", "rejected", "too_large", "incomplete", "refused"]);
const NAMES = 3; // of photos in one line
const KEEP_OPEN = "Keep this page open until your browser saves the ZIP. If you close it, what has arrived is kept.";
const MAY_CLOSE = "You can close this page: your browser continues to save the ZIP.";
/** Where `cancelJob` has had no answer. */
export const NOT_CANCELLED = "The service did not confirm that it is cancelled: the download may go on there.";
const SAVING = "saving"; // of this tab: the job and its archive
const CANCELLED = "cancelled"; // why a run was aborted; otherwise its job continues

export class Run {
  #abort = null;
  #jobId = ""; // known before the first event of the job
  #job = null;
  #rate = new TransferRate();
  #spoken = 0;
  #isLost = false;
  #isWaiting = false; // for photos that Autoenhance is still working on
  #savesItself = false; // a job that ended before the page was loaded is not saved again automatically
  #things = photos; // what is counted: photos, or files where each comes in several sizes
  #isOld = false; // begun before the page was loaded
  #photoIds = []; // of its report
  #isEarly = false; // whether it is saved from its first photo on
  #saving = ""; // the archive that the browser is saving already
  #reporting = 0;
  #looks = 0; // at reports, so far
  #newest = 0; // of those that were answered
  #clock = 0;
  #hooks;

  /**
   * Hooks: `onJob(jobId, or "")`, `onResults(reportLines, textForTheMissing)`, `onEndOfOld(ids)`: the photos of a download that
   * was begun before the page was loaded,
   * `onState("", "waiting", "collecting" or "done")`, `onPart(how much is done, or null)`, `retry()`, `rebuild()`, which asks
   * before it buys anything, `cost()`: the credits that trying again may spend.
   */
  constructor(hooks) {
    this.#hooks = hooks;
    $("cancel").addEventListener("click", () => this.#cancel());
    $("save").addEventListener("click", () => this.#save());
    $("retry").addEventListener("click", () => hooks.retry());
    $("change").addEventListener("click", () => this.#toOptions());
  }

  /** Start a job for the order and follow it to its end. `isEarly`: its file is saved from its first photo on. */
  async start(orderId, query, isEarly) {
    const signal = this.#begin(query);
    this.#savesItself = true;
    this.#isEarly = isEarly;
    const image = query.getAll("image");
    query.delete("image"); // an address does not hold many
    try {
      const response = await postJson(`/v1/orders/${orderId}/jobs?${query}`, { image });
      const { job_id: jobId } = await response.json();
      if (signal.reason === CANCELLED) await this.#cancelJob(jobId);
      else await this.#follow(jobId, signal);
    } catch (error) {
      this.#fail(error, signal);
    }
  }

  /** Follow a running job, or show how it ended, after the page was reloaded. `query`: its options; null where they are not known. */
  async resume(jobId, query) {
    const signal = this.#begin(query, jobId);
    this.#isOld = true;
    try {
      const job = await getJson(`/v1/jobs/${jobId}`, { signal });
      this.#savesItself = !FINAL.has(job.status);
      this.#saving = savingOf(jobId);
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
    write($("note"), "");
    this.#hooks.onState("");
    this.#hooks.onPart(null);
    this.#hooks.onJob("");
  }

  /** The order while the job waits for it: how much of it is ready. */
  waitsFor(overview) {
    const job = this.#job;
    if (!job || FINAL.has(job.status) || overview.status !== "processing") return;
    if (job.status !== "queued" && job.downloaded + job.failed < overview.readyFiles) return;
    this.#isWaiting = true;
    write($("running-title"), "Waiting for Autoenhance");
    this.#adviseOnClosing();
    write($("running-line"), `${overview.ready} of ${photos(overview.total)} are enhanced. You can close this page and come back later.`);
  }

  #begin(query, jobId = "") {
    this.#abort?.abort();
    this.#abort = new AbortController();
    this.#rate = new TransferRate();
    this.#jobId = jobId;
    this.#job = null;
    this.#isEarly = this.#isOld = false;
    this.#photoIds = [];
    this.#saving = "";
    this.#things = query?.has("rendition") || query?.has("include") ? files : photos;
    this.#spoken = 0;
    this.#show("running");
    this.#hooks.onState("waiting");
    $("bar").removeAttribute("value");
    write($("running-title"), "Starting");
    write($("running-percent"), "");
    write($("running-line"), "");
    this.#adviseOnClosing();
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
      const isPostponed = job.status === "queued" && this.#job?.status === "processing";
      this.#job = job;
      if (isPostponed) this.#postpone();
      this.#progress();
      this.#saveEarly();
      if (FINAL.has(job.status)) {
        const [name] = await Promise.all([this.#fileName(), this.#report()]);
        if (!signal.aborted) this.#finish(name);
        return;
      }
      this.#reportSoon();
    }
  }

  /** No storage space, or Autoenhance is failing: what was counted so far does not tell how it continues. */
  #postpone() {
    this.#rate = new TransferRate();
    $("bar").removeAttribute("value");
    write($("running-line"), "The download is paused and continues automatically.");
  }

  /** The browser begins to save once the first photo is in: the others follow in its file while they arrive. */
  #saveEarly() {
    const { archive_id: archive, downloaded } = this.#job;
    if (!this.#isEarly || this.#saving || !archive || !downloaded) return;
    this.#saving = archive;
    this.#adviseOnClosing();
    keep(SAVING, [this.#jobId, archive], tab);
    save(`/v1/archives/${archive}`);
  }

  #adviseOnClosing() {
    write($("running-close"), this.#isWaiting ? "" : this.#saving ? MAY_CLOSE : KEEP_OPEN); // who waits is told so above
  }

  #progress() {
    const job = this.#job;
    const done = job.downloaded + job.failed;
    if (this.#isWaiting) this.#rate = new TransferRate(); // what was waited for says nothing of what comes
    this.#isLost = this.#isWaiting = false;
    this.#adviseOnClosing();
    this.#rate.note(done, job.bytes, seconds());
    const part = job.total ? done / job.total : 0;
    this.#hooks.onState(job.status === "queued" ? "waiting" : "collecting");
    if (job.total) $("bar").value = part;
    this.#hooks.onPart(job.total ? part : null);
    write($("running-title"), job.status === "queued" ? "Waiting" : this.#saving ? "Saving your ZIP" : "Preparing your ZIP");
    write($("running-percent"), job.total ? `${Math.floor(part * 100)}%` : "");
    this.#tick();
    const step = Math.floor(part * SPOKEN_STEPS);
    if (step > this.#spoken && part < 1) {
      this.#spoken = step;
      say(`${done} of ${this.#things(job.total)}.`);
    }
  }

  #tick() {
    const job = this.#job;
    if (!job || this.#isLost || this.#isWaiting || job.status !== "processing" || !job.total) return;
    const now = seconds();
    const speed = this.#rate.speed(now);
    const left = this.#rate.left(job.total - job.downloaded - job.failed, now);
    const parts = [`${job.downloaded} of ${this.#things(job.total)}`, bytes(job.bytes)];
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
    const look = (this.#looks += 1);
    try {
      const report = await getJson(`/v1/archives/${archive}/report`, { quiet: true, signal: this.#abort.signal });
      if (look < this.#newest) return; // a later look has told more
      this.#newest = look;
      this.#photoIds = report.images.map((line) => line.image_id);
      const reasons = new Map(this.#job.failures.map(({ image_id: id, reason }) => [id, reason]));
      this.#hooks.onResults(report.images.map((line) => ({ ...line, reason: reasons.get(line.image_id) })));
    } catch {
      // Only the list is out of date; the counts above it are not.
    }
  }

  /** What the browser saves the archive as; empty if that is not known. */
  async #fileName() {
    const archive = this.#job.archive_id;
    if (!archive) return "";
    try {
      const { headers } = await request(`/v1/archives/${archive}`, { method: "HEAD", quiet: true, signal: this.#abort.signal });
      return decodeURIComponent(headers.get("Content-Disposition").match(/filename\*=UTF-8''([^;]+)/)[1]);
    } catch {
      return "";
    }
  }

  #finish(name) {
    const job = this.#job;
    this.#stop();
    if (this.#isOld) this.#hooks.onEndOfOld(new Set([...this.#photoIds, ...job.failures.map((failure) => failure.image_id)]));
    if (job.status === "cancelled") {
      this.reset();
      say("Cancelled.");
    } else if (job.status === "error") {
      const refusal = new Refusal(job.error ?? {}, 0);
      if (refusal.code === "max_credits_exceeded") this.#toNewPrice(refusal);
      else this.#outcome("bad", refusal.message, refusal.next);
    } else {
      const { saved, left } = { saved: this.#things(job.downloaded), left: job.failed };
      const text = job.downloaded === 1 && !left ? "Your photo is in the ZIP" : `${left ? saved : `All ${saved}`} ${job.downloaded === 1 ? "is" : "are"} in the ZIP`;
      const saving = `${name ? `Saved as ${name}` : "It is"} in your browser's downloads.`;
      const where = this.#savesItself ? saving : "It is ready to save.";
      const without = left ? ` ${this.#things(left)} ${left === 1 ? "is" : "are"} left out:` : "";
      this.#outcome(left ? "warn" : "good", text, `${bytes(job.bytes)}. ${where}${without}`);
      if (this.#savesItself && this.#saving !== job.archive_id) void this.#save();
    }
  }

  #outcome(kind, title, text, reference = "") {
    const { failures, status } = this.#job;
    const worthATry = failures.filter((failure) => !LASTING.has(failure.code));
    const canRetry = worthATry.length > 0 || (status !== "complete" && failures.length === 0);
    const isSaved = status === "complete";
    $("outcome").dataset.kind = kind;
    write($("outcome-title"), title);
    write($("outcome-text"), text);
    write($("outcome-reference"), reference);
    $("failures").replaceChildren(...failureLines(failures));
    $("save").hidden = $("share-saved").hidden = !isSaved;
    write($("save"), this.#savesItself ? "Save again" : "Save ZIP");
    $("retry").hidden = !canRetry;
    for (const way of $("outcome").querySelectorAll("[data-way]")) way.hidden = isSaved || canRetry;
    const only = worthATry.length === 1 && worthATry[0].name;
    const again = worthATry.length ? `Retry ${only ? shortened(only, 30) : this.#things(worthATry.length)}` : "Try again";
    const cost = this.#hooks.cost();
    write($("retry"), cost ? `${again} (up to ${credits(cost)})` : again);
    $("retry").classList.toggle("primary", !isSaved);
    this.#show("outcome");
    if (status === "error") this.#hooks.onResults(failures, "Not downloaded");
    this.#hooks.onState("done");
    this.#hooks.onPart(null);
    $("outcome-title").focus();
  }

  async #save() {
    const path = `/v1/archives/${this.#job.archive_id}`;
    const { signal } = this.#abort;
    try {
      await request(`${path}/report`); // is it still there? A download could not say so
      save(path);
    } catch (error) {
      // No longer kept: it is made anew, from the photos that are stored.
      if (error.status === 404 || error.status === 410) this.#hooks.rebuild();
      else this.#fail(error, signal);
    }
  }

  async #cancel() {
    const { jobId, saving } = { jobId: this.#jobId, saving: this.#saving };
    this.#abort.abort(CANCELLED);
    this.#toOptions();
    const also = saving ? " Stop it in your browser's downloads, too." : "";
    write($("note"), `Cancelled.${also} What has arrived is kept: downloading again continues there.`);
    say("Cancelled. What has arrived is kept.");
    if (jobId) await this.#cancelJob(jobId);
  }

  async #cancelJob(jobId) {
    if (await cancelJob(jobId)) return;
    write($("note"), NOT_CANCELLED);
    say(NOT_CANCELLED);
  }

  /** The button that was pressed is hidden with its section, so keyboard users continue at the options. */
  #toOptions() {
    this.reset();
    $("go").focus();
  }

  /** The options again, beside which the price is looked up anew. */
  #toNewPrice(refusal) {
    this.#toOptions();
    const text = `${refusal.sentence} ${refusal.next}`;
    write($("note"), text);
    say(text);
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
    $("choices").disabled = part !== "options";
    $("go-bar").hidden = part !== "options";
    $("running").hidden = part !== "running";
    $("outcome").hidden = part !== "outcome";
  }
}

/** Whether the service has confirmed that a job does not go on, and buys nothing more. */
export async function cancelJob(jobId) {
  try {
    await request(`/v1/jobs/${jobId}`, { method: "DELETE", quiet: true });
  } catch (error) {
    return error.status === 404; // there is no such job any more
  }
  return true;
}

/** What failed for the same reason is one line. */
function failureLines(failures) {
  return [...grouped(failures)].map(([reason, same]) => {
    const names = same.map(({ name }) => shortened(name || "(no name)", 60));
    const shown = same.length > NAMES + 1 ? [...names.slice(0, NAMES), `${same.length - NAMES} others`] : names;
    return h("li", { title: names.join(", ") }, h("b", {}, shown.join(", ")), h("span", {}, reason));
  });
}

function grouped(failures) {
  const found = new Map();
  for (const failure of failures) found.set(failure.reason, [...(found.get(failure.reason) ?? []), failure]);
  return found;
}

/** The archive of a job that this tab is saving: after a reload it is not saved once more. */
function savingOf(jobId) {
  const found = kept(SAVING, tab);
  return found?.[0] === jobId ? found[1] : "";
}

const seconds = () => performance.now() / 1000;
