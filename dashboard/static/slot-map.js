// Tells whose slots the pointer is on, or the arrow keys have come to; Enter or a click goes there.
"use strict";

(function () {
  // In the order of their slots, whatever is drawn over what.
  function segmentsOf(map) {
    const at = (segment) => [parseFloat(segment.getAttribute("y")), parseFloat(segment.getAttribute("x"))];
    const before = ([row, start], [otherRow, otherStart]) => row - otherRow || start - otherStart;
    return [...map.querySelectorAll("svg.seg")].sort((a, b) => before(at(a), at(b)));
  }

  function choose(map, segment) {
    for (const old of map.querySelectorAll(".is-chosen")) old.classList.remove("is-chosen");
    if (segment) segment.classList.add("is-chosen");
    const text = segment ? segment.querySelector("title").textContent : "";
    const now = map.querySelector(".told .now");
    if (now.textContent !== text) now.textContent = text;
  }

  function go(segment) {
    if (segment && typeof Live !== "undefined" && Live.show) Live.show(segment.dataset.shard);
  }

  function move(map, key) {
    const all = segmentsOf(map);
    const at = all.findIndex((segment) => segment.classList.contains("is-chosen"));
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: all.length - 1 };
    if (!(key in to)) return false;
    choose(map, all[Math.min(Math.max(to[key], 0), all.length - 1)]);
    return true;
  }

  document.addEventListener("pointerover", (event) => {
    const map = event.target.closest && event.target.closest(".slotmap");
    if (map) choose(map, event.target.closest("svg.seg"));
  });
  document.addEventListener("pointerout", (event) => {
    const map = event.target.closest && event.target.closest(".slotmap");
    if (map && !map.contains(event.relatedTarget)) choose(map, null);
  });
  document.addEventListener("click", (event) => {
    const segment = event.target.closest && event.target.closest(".slotmap svg.seg");
    if (segment) go(segment);
  });
  document.addEventListener("keydown", (event) => {
    if (!event.target.classList.contains("slotmap")) return;
    if (event.key === "Enter") go(event.target.querySelector(".is-chosen"));
    else if (!move(event.target, event.key)) return;
    event.preventDefault();
  });
  document.addEventListener("focusout", (event) => {
    if (event.target.classList && event.target.classList.contains("slotmap")) choose(event.target, null);
  });
})();
