// Small helpers. Text always enters the page as text: there is no innerHTML anywhere.

export const $ = (id) => document.getElementById(id);

/** An element with properties (`class`, `data-…`, `aria-…` and others become attributes) and children. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** Set text only where it changed: screen readers hear live regions once, and nothing is painted twice. */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** What gets the focus is not to be behind a bar at the foot of the screen. */
export function scrollAbove(bar) {
  const leaveRoom = () => { document.documentElement.style.scrollPaddingBottom = `${bar.offsetHeight + 8}px`; };
  new ResizeObserver(leaveRoom).observe(bar);
}

/** Tell those who cannot see the change, also what they were told before. While a dialog is open, only it is heard. */
export function say(text) {
  for (const region of document.querySelectorAll("#status, dialog[open] [data-say]")) {
    region.textContent = "";
    requestAnimationFrame(() => setTimeout(() => { region.textContent = text; })); // empty for one frame
  }
}

/** Resolves after so many milliseconds, or at once when `signal` aborts. */
export function sleep(milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
  });
}
