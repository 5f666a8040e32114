// How fast a download goes, and how long it may still take.

const WINDOW = 15; // seconds that speed is averaged over
const SHORTEST = 1; // seconds before a guess is worth showing
const FEWEST = 2; // and images
const BURST = 0.3; // what comes at once at the start was here already: it tells nothing about speed

export class TransferRate {
  #samples = [];

  /** Note how many images are settled, and how many bytes are here. `now` is in seconds. */
  note(settled, bytes, now) {
    const [first] = this.#samples;
    if (first && now - first.now < BURST) this.#samples = [{ settled, bytes, now: first.now }];
    else this.#samples.push({ settled, bytes, now });
  }

  /** Bytes per second, or 0 while nothing can be said. */
  speed(now) {
    const { bytes, seconds } = this.#since(now);
    return seconds >= SHORTEST ? bytes / seconds : 0;
  }

  /** Seconds until `remaining` images are settled, or null while nothing can be said. */
  left(remaining, now) {
    const { settled, seconds } = this.#since(now);
    return seconds >= SHORTEST && settled >= FEWEST ? (remaining * seconds) / settled : null;
  }

  #since(now) {
    while (this.#samples.length > 2 && this.#samples[1].now < now - WINDOW) this.#samples.shift();
    const first = this.#samples[0];
    const last = this.#samples.at(-1);
    if (!first) return { settled: 0, bytes: 0, seconds: 0 };
    return { settled: last.settled - first.settled, bytes: last.bytes - first.bytes, seconds: now - first.now };
  }
}
