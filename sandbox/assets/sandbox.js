// Keeps a screen fresh: reloads when something new has happened and nobody is typing or reading down the page.
(() => {
  "use strict";
  const known = document.body.dataset.pulse;
  const notice = document.getElementById("fresh");
  const quiet = () => !document.activeElement || !["INPUT", "TEXTAREA", "SELECT", "BUTTON"].includes(document.activeElement.tagName);
  const look = async () => {
    if (document.hidden) return;
    try {
      const response = await fetch("/pulse.json");
      const { pulse } = await response.json();
      if (pulse === known) return;
      if (document.body.dataset.live === "yes" && quiet() && window.scrollY < 80) window.location.reload();
      else notice.hidden = false;
    } catch {
      notice.hidden = true; // the sandbox is away; the next look will tell
    }
  };
  window.setInterval(look, 2500);
  notice.querySelector("button").addEventListener("click", () => window.location.reload());
  for (const thread of document.querySelectorAll("[data-to-end]")) thread.scrollTop = thread.scrollHeight;
})();
