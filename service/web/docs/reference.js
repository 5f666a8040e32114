// The API reference, drawn from /openapi.json by Swagger UI. Nothing is asked of another host.
const root = document.documentElement;
const system = matchMedia("(prefers-color-scheme: dark)");

function follow() {
  const theme = root.dataset.theme || (system.matches ? "dark" : "light");
  root.classList.toggle("dark-mode", theme === "dark");
}

follow();
system.addEventListener("change", follow);
new MutationObserver(follow).observe(root, { attributeFilter: ["data-theme"] });

SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#reference",
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  presets: [SwaggerUIBundle.presets.apis],
  layout: "BaseLayout",
  validatorUrl: null,
  onComplete() {
    // It stands in our page's main part, and would be a second one.
    document.getElementById("operations")?.setAttribute("role", "group");
  },
});
