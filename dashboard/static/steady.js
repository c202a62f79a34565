// Keeps in place what an operator is about to use: while the pointer or the keys move in the page,
// nothing above the shards grows, and the shards keep their order.
"use strict";

const Live = {}; // what the scripts of this page tell one another

(function () {
  const STILL_MS = 10000; // a pointer that rests so long is not in use
  const main = document.getElementById("main");
  const waiting = new Map(); // name -> what is done when nobody uses the page
  let last = -Infinity;
  let timer = 0;

  function inUse() {
    return performance.now() - last < STILL_MS;
  }

  function hold() {
    for (const element of main.querySelectorAll("[data-steady]")) {
      element.style.height = element.offsetHeight + "px";
      element.classList.add("is-held");
    }
  }

  function release() {
    last = -Infinity;
    window.clearTimeout(timer);
    timer = 0;
    for (const element of main.querySelectorAll(".is-held")) {
      element.style.height = "";
      element.classList.remove("is-held");
    }
    for (const act of waiting.values()) act();
    waiting.clear();
    tell();
  }

  function look() {
    const left = STILL_MS - (performance.now() - last);
    if (left > 0) timer = window.setTimeout(look, left);
    else release();
  }

  function used() {
    last = performance.now();
    if (timer) return;
    hold();
    timer = window.setTimeout(look, STILL_MS);
  }

  function tell() {
    const held = document.getElementById("held");
    const words = waiting.size ? "order held while you are here" : "";
    if (held && held.textContent !== words) held.textContent = words;
  }

  // Does it now, or once nobody uses the page; a later act of the same name takes its place.
  Live.whenUnused = function (name, act) {
    if (inUse()) waiting.set(name, act);
    else {
      waiting.delete(name);
      act();
    }
    tell();
  };

  Live.settled = function (name) {
    waiting.delete(name);
    tell();
  };

  // A browser also tells of a move when the page moves below a pointer that rests.
  main.addEventListener("pointermove", (event) => {
    if (event.movementX || event.movementY) used();
  });
  main.addEventListener("pointerdown", used);
  main.addEventListener("keydown", used);
  document.documentElement.addEventListener("pointerleave", (event) => {
    if (event.pointerType === "mouse") release();
  });
  window.addEventListener("resize", () => {
    if (timer) release();
  });
})();
