// Show the service's OpenAPI document. If the service requires an API key, ask for it first.
(async () => {
  let response = await fetch("openapi.json");
  if (response.status === 401) {
    const key = prompt("This service requires an API key:") ?? "";
    response = await fetch("openapi.json", { headers: { "x-api-key": key } });
  }
  const openapi = await response.json();
  if (!response.ok) {
    document.body.textContent = openapi.error;
    return;
  }
  document.title = openapi.info.title;
  // An ingress may serve the API under a path prefix.
  openapi.servers = [{ url: new URL(".", location.href).href.replace(/\/$/, "") }];
  const page = document.querySelector("rapi-doc");
  page.setAttribute("allow-authentication", "securitySchemes" in openapi.components);
  page.loadSpec(openapi);
})();
