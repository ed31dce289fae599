// Show the service's OpenAPI document. If the service requires an API key, ask for it first.

// Long names and digests wrap instead of running off a small screen.
const STYLE = ".m-markdown *, .nav-bar-path * { overflow-wrap: anywhere; } code { white-space: break-spaces; }";

(async () => {
  const page = document.querySelector("rapi-doc");
  if (matchMedia("(prefers-color-scheme: dark)").matches) {
    page.setAttribute("theme", "dark");
    Object.assign(document.body.style, { background: "#333", color: "#eee" });
  }
  let response = await fetch("openapi.json");
  if (response.status === 401) {
    const key = prompt("This service requires an API key:") ?? "";
    response = await fetch("openapi.json", { headers: { "x-api-key": key } });
    for (const [name, value] of Object.entries({ name: "x-api-key", location: "header", value: key }))
      page.setAttribute(`api-key-${name}`, value);
  }
  const openapi = await response.json();
  if (!response.ok) {
    page.remove();
    document.body.append(openapi.error);
    return;
  }
  document.title = openapi.info.title;
  // An ingress may serve the API under a path prefix.
  openapi.servers = [{ url: new URL(".", location.href).href.replace(/\/$/, "") }];
  page.setAttribute("allow-authentication", "securitySchemes" in openapi.components);
  const style = new CSSStyleSheet();
  style.replaceSync(STYLE);
  page.shadowRoot.adoptedStyleSheets = [...page.shadowRoot.adoptedStyleSheets, style];
  page.loadSpec(openapi);
})();
