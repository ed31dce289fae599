// Shows the document that this service has; where that needs a key, asks for it.
(async () => {
  let reply = await fetch("openapi.json");
  if (reply.status === 401) {
    const key = prompt("This service wants an API key to show its document:") ?? "";
    reply = await fetch("openapi.json", { headers: { "x-api-key": key } });
  }
  const document_ = await reply.json();
  if (!reply.ok) {
    document.body.textContent = document_.error;
    return;
  }
  document.title = document_.info.title;
  // Where the service is behind a path of somebody's, so are its routes.
  document_.servers = [{ url: new URL(".", location.href).href.replace(/\/$/, "") }];
  const page = document.querySelector("rapi-doc");
  page.setAttribute("allow-authentication", "securitySchemes" in document_.components);
  page.loadSpec(document_);
})();
