// A form that is sent once, however often its button is pressed; a text that is gone with its page,
// so that a browser's way back does not bring it.
"use strict";

(function () {
  const form = document.querySelector("form[data-once]");
  let sent = false;
  if (form) {
    form.addEventListener("submit", (event) => {
      if (sent) event.preventDefault();
      sent = true;
    });
  }
  window.addEventListener("pagehide", () => {
    sent = false;
    for (const each of document.querySelectorAll("code[data-once]")) each.textContent = "not shown again";
  });
})();
