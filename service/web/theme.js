// Light or dark, before the first paint: a plain script in the head, so that nothing flashes.
// Without a choice the system's own setting holds.
(() => {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const chosen = () => root.dataset.theme || (system.matches ? "dark" : "light");

  try {
    const kept = localStorage.getItem("theme");
    if (kept === "light" || kept === "dark") root.dataset.theme = kept;
  } catch {
    // Storage is switched off: the choice lasts as long as the page.
  }

  function label() {
    for (const button of document.querySelectorAll("[data-theme-toggle]")) {
      button.setAttribute("aria-pressed", String(chosen() === "dark"));
    }
  }

  document.addEventListener("click", (event) => {
    if (!event.target.closest("[data-theme-toggle]")) return;
    root.dataset.theme = chosen() === "dark" ? "light" : "dark";
    label();
    try {
      localStorage.setItem("theme", root.dataset.theme);
    } catch {
      // As above.
    }
  });
  document.addEventListener("DOMContentLoaded", label);
  system.addEventListener("change", label);
})();
