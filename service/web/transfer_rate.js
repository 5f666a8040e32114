// How fast a download goes, and how long it may still take.

const WINDOW = 15; // seconds that speed is averaged over
const MIN_SECONDS = 1; // seconds before a guess is worth showing
const MIN_DONE = 2; // and images
const BURST = 0.3; // what comes at once at the start was here already: it tells nothing about speed

export class TransferRate {
  #samples = [];

  /** Note how many images are done, and how many bytes are here. `now` is in seconds. */
  note(done, bytes, now) {
    const [first] = this.#samples;
    if (first && now - first.now < BURST) this.#samples = [{ done, bytes, now: first.now }];
    else this.#samples.push({ done, bytes, now });
  }

  /** Bytes per second, or 0 while nothing can be said. */
  speed(now) {
    const { bytes, seconds } = this.#since(now);
    return seconds >= MIN_SECONDS ? bytes / seconds : 0;
  }

  /** Seconds until `remaining` images are done, or null while nothing can be said. */
  left(remaining, now) {
    const { done, seconds } = this.#since(now);
    return seconds >= MIN_SECONDS && done >= MIN_DONE ? (remaining * seconds) / done : null;
  }

  #since(now) {
    while (this.#samples.length > 2 && this.#samples[1].now < now - WINDOW) this.#samples.shift();
    const first = this.#samples[0];
    const last = this.#samples.at(-1);
    if (!first) return { done: 0, bytes: 0, seconds: 0 };
    return { done: last.done - first.done, bytes: last.bytes - first.bytes, seconds: now - first.now };
  }
}
