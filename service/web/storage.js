// What this browser keeps, or this tab; where that is switched off, nothing.

const browser = () => localStorage;
export const tab = () => sessionStorage;

/** What is kept under a name; null for nothing, and for what nobody here has kept. */
export function kept(name, storage = browser) {
  try {
    return JSON.parse(storage().getItem(name));
  } catch {
    return null;
  }
}

export function keep(name, value, storage = browser) {
  try {
    storage().setItem(name, JSON.stringify(value));
  } catch {
    // Nothing can be kept here.
  }
}
