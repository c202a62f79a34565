// A form that is sent once, however often its button is pressed; a text that is gone with its page,
// so that a browser's way back does not bring it.
"use strict";

(function () {
  let sent = new WeakSet(); // forms
  document.addEventListener("submit", (event) => {
    if (!event.target.hasAttribute("data-once")) return;
    if (sent.has(event.target)) event.preventDefault();
    sent.add(event.target);
  });
  window.addEventListener("pagehide", () => {
    sent = new WeakSet();
    for (const each of document.querySelectorAll("code[data-once]")) each.textContent = "not shown again";
  });
})();
