// What went wrong, as a sentence and a next step. The service's problem documents carry both, in `title` and `detail`;
// what has no such document, or one for programs, is worded here.

const OFFLINE = {
  code: "offline",
  title: "The service cannot be reached",
  detail: "Check your connection, then try again. Photos already downloaded are kept.",
};
// Where the service speaks to programs, of parameters and headers, the page has words of its own.
const OWN = {
  no_images: { title: "No photo could be downloaded", detail: "This is why:" },
  order_empty: { title: "This order has no photos yet", detail: "Upload photos to it at Autoenhance. If they were just uploaded, try again in a minute." },
  max_credits_exceeded: { title: "It would have used more credits than was shown", detail: "Nothing was bought. See what it costs now, then download again." },
  rate_limited: { title: "Too many requests at a time", detail: "What has arrived is kept." },
  unauthorized: { title: "This service needs an access key", detail: "Try again, and enter the key that its operator gave you." },
  too_many_links: { title: "You have too many share links", detail: "Revoke those that nobody needs any more, or wait until some have expired." },
  links_unavailable: { title: "Links cannot be made or looked up at the moment", detail: "Nothing is lost: try again in a minute." },
};
const FALLBACK = "Try again. If it happens again, tell the operator of this service.";

/** An error response. `status` is 0 if there was no response at all. */
export class Refusal extends Error {
  constructor(given, status, retryAfter = 0) {
    const document = { ...given, ...OWN[given.code] };
    super(document.title || "Something went wrong");
    this.status = status;
    this.code = document.code || "unknown";
    this.detail = document.detail || "";
    this.requestId = document.request_id || "";
    this.failures = document.failures || []; // images that could not be fetched
    this.files = document.files || []; // files that could not be sent on
    this.retryAfter = retryAfter;
  }

  /** Read a response that is not ok. */
  static async of(response) {
    const text = await response.text().catch(() => "");
    return Refusal.from(text, response.status, Number(response.headers.get("Retry-After")) || 0);
  }

  static from(text, status, retryAfter = 0) {
    let document = {};
    try {
      document = JSON.parse(text) || {};
    } catch {
      // Not from the service itself: a proxy's page, say.
    }
    return new Refusal(document.title ? document : { title: `The service responded with status ${status}` }, status, retryAfter);
  }

  static offline() {
    return new Refusal(OFFLINE, 0);
  }

  /** An error of the page itself. */
  static ofPage() {
    return new Refusal({ title: "Something went wrong on this page" }, 0);
  }

  get sentence() {
    return /[.!?]$/.test(this.message) ? this.message : `${this.message}.`;
  }

  /** What happened this time and what to do, with the time to wait unless the text has it already. */
  get next() {
    const step = this.detail || FALLBACK;
    const isSaid = this.retryAfter <= 5 || step.includes(`${this.retryAfter} seconds`);
    return isSaid ? step : `${step} Wait ${this.retryAfter} seconds before you try again.`;
  }

  /** What the operator can search the log for; empty if there is nothing in the log. */
  get reference() {
    return this.requestId && `Request id: ${this.requestId}`;
  }
}
